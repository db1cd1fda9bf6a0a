"""Sockets on which systemd listens for us, by the protocol of sd_listen_fds(3): requests wait in them over a restart.

They stay systemd's: each use takes a copy, and a Unix socket's file isn't taken away at the end.
"""

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from taskd.config.urls import Address
from taskd.errors import ConfigError

FIRST = 3  # SD_LISTEN_FDS_START


def handed_over(wanted: Iterable[Address], environ: Mapping[str, str]) -> dict[Address, socket.socket]:
    """A copy of the socket that systemd listens on at each of the addresses `wanted`, where it does.

    Raises ConfigError for one that none of them means: whoever connects there would wait for ever.
    """
    found: dict[Address, socket.socket] = {}
    for number in range(FIRST, FIRST + _count(environ)):
        os.set_inheritable(number, False)
        given = socket.socket(fileno=os.dup(number))
        address = next((each for each in wanted if _is_at(given, each)), None)
        if address is None:
            name = given.getsockname()
            given.close()
            raise ConfigError(
                f"systemd listens at {_shown(name)} for this daemon, which doesn't: let ListenStream= of taskd.socket and "
                "http.bind name the same address"
            )
        found[address] = given
    return found


def _count(environ: Mapping[str, str]) -> int:
    """How many there are for this process: children that inherit the variables get none."""
    with suppress(KeyError, ValueError):
        if int(environ["LISTEN_PID"]) == os.getpid():
            return int(environ["LISTEN_FDS"])
    return 0


def _is_at(given: socket.socket, address: Address) -> bool:
    name = given.getsockname()
    if isinstance(address, Path):
        return given.family == socket.AF_UNIX and Path(os.fsdecode(name)) == address
    if given.family not in {socket.AF_INET, socket.AF_INET6}:
        return False
    return any(name[:2] == each[4][:2] for each in socket.getaddrinfo(*address, type=socket.SOCK_STREAM))


def _shown(name: str | bytes | tuple[object, ...]) -> str:
    return f"{name[0]}:{name[1]}" if isinstance(name, tuple) else os.fsdecode(name)
