"""Addresses → listening sockets, or one sentence that says what is in the way."""

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taskd.config.urls import Address
from taskd.errors import ConfigError

SOCKET_MODE = 0o660
BACKLOG = 256


@contextmanager
def listening(address: Address) -> Iterator[socket.socket]:
    """A socket that listens at `address` until the block ends; raises ConfigError."""
    if not isinstance(address, Path):
        with _listen_tcp(*address) as listener:
            yield listener
        return
    with _listen_unix(address) as listener:
        try:
            yield listener
        finally:
            address.unlink(missing_ok=True)


def shown(listener: socket.socket) -> str:
    """Where it listens, as a URL or as the socket's path."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    host = f"[{name[0]}]" if ":" in name[0] else name[0]
    return f"http://{host}:{name[1]}"


def _listen_tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"{host}:{port} is taken by another program: stop it, or set http.bind to another port"
            ) from error
        raise ConfigError(
            f"can't listen on {host}:{port}: {os.strerror(error.errno or 0)}; set http.bind to another address"
        ) from error


def _listen_unix(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _clear(path)
        listener.bind(str(path))
        # Nobody can connect before `listen`, so nobody finds it with another mode.
        path.chmod(SOCKET_MODE)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = error.strerror or str(error)
        raise ConfigError(
            f"can't listen on the socket {path}: {reason}; set state_dir to another folder"
        ) from error
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: Path) -> None:
    """Take away the socket of a process that is dead; raises ConfigError where one answers, or it is no socket."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise ConfigError(
            f"{path} is in the way, and no socket: take it away, or set state_dir to another folder"
        )
    if _answers(path):
        raise ConfigError(f"another process answers on {path}: stop it, or set state_dir to another folder")
    path.unlink()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True  # it may not answer us, but someone holds it
    return True
