"""Who asks, and what he may: over TCP by a bearer's token, on the Unix socket by being let in at all.

scope       may
none        be answered by anyone: whether it lives, whether it is ready
read        look
control     read, and change what is scheduled and what runs
admin       control, and change the workers themselves
metrics     be answered at /metrics, and nothing else
"""

import pwd
import re
import socket
import struct
from asyncio import BaseTransport
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from typing import Literal

from taskd.config.tokens import Token
from taskd.http.problems import Problem

Scope = Literal["none", "read", "control", "admin", "metrics"]

_IMPLIED: Mapping[Scope, frozenset[Scope]] = {
    "none": frozenset(),
    "read": frozenset({"read"}),
    "control": frozenset({"read", "control"}),
    "admin": frozenset({"read", "control", "admin"}),
    "metrics": frozenset({"metrics"}),
}
_BEARER = re.compile(r"bearer +([!-~]{1,512})", re.IGNORECASE)
_ASK_FOR_ONE = {"WWW-Authenticate": 'Bearer realm="taskd"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who the history says it was, and what he may do; None: everything."""

    name: str
    scopes: frozenset[Scope] | None = None

    def check(self, scope: Scope) -> None:
        """Raise Problem (403) unless `scope` is among his."""
        if scope != "none" and self.scopes is not None and scope not in self.scopes:
            raise Problem(403, f"this needs a token with the scope {scope}; {self.name} has another")


class Callers:
    """The tokens that are known, by the digests of their secrets."""

    def __init__(self, tokens: Sequence[Token], environ: Mapping[str, str]) -> None:
        """Raises ConfigError for a secret that isn't where its token says."""
        self._known = [(token.digest(environ), Caller(token.name, _scopes(token))) for token in tokens]

    def of_tcp(self, authorization: str | None, scope: Scope) -> Caller:
        """Who sent this header (None: it sent none) and may have `scope`; raises Problem: 401, 403.

        Without tokens it is any program of this machine.
        """
        if not self._known or scope == "none":
            return Caller("http")
        caller = self._bearer(authorization)
        caller.check(scope)
        return caller

    def _bearer(self, authorization: str | None) -> Caller:
        if authorization is None:
            raise Problem(401, "this needs a token: send Authorization: Bearer SECRET", _ASK_FOR_ONE)
        sent = _BEARER.fullmatch(authorization)
        digest = sha256(sent[1].encode()).digest() if sent else b""
        # All are compared, so that the time tells nothing of which one is near.
        found = [caller for known, caller in self._known if compare_digest(known, digest)]
        if not found:
            raise Problem(401, "the token is not one of http.tokens", _ASK_FOR_ONE)
        return found[0]


def user_of(transport: BaseTransport | None) -> str | None:
    """The user at the other end of a Unix socket, by name; None where it is TCP."""
    sock = transport.get_extra_info("socket") if transport else None
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    _pid, uid, _gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _scopes(token: Token) -> frozenset[Scope]:
    return frozenset[Scope]().union(*(_IMPLIED[scope] for scope in token.scopes))
