"""`http.tokens`: who may ask for what, and how each secret is recognised without being kept."""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, SecretStr, model_validator

from taskd.config.section import Section, Text
from taskd.errors import ConfigError

TokenScope = Literal["read", "control", "admin", "metrics"]

SHORTEST_SECRET = 16  # characters; what is shorter can be guessed over the network
_TAKEN = {"taskd", "reconciler", "http"}  # actors of events that no token may pass for


def _name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError("should be a name of letters, digits and . _ -, at most 64")
    if name in _TAKEN:
        raise ValueError(f"{name} is taskd's own name in the history; choose another")
    return name


def _digest(given: SecretStr | None) -> SecretStr | None:
    if given is None:
        return None
    digest = given.get_secret_value().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError("should be the SHA-256 of the secret, 64 hex digits: printf %s SECRET | sha256sum")
    if digest == sha256(b"").hexdigest():
        raise ValueError("is the SHA-256 of nothing: a secret is missing")
    return given


def _some(scopes: tuple[TokenScope, ...]) -> tuple[TokenScope, ...]:
    if not scopes:
        raise ValueError("should name what the token is for: read, control, admin or metrics")
    return scopes


class Token(Section):
    """A bearer's name, what it may do, and where its secret comes from: exactly one of `sha256`, `env`, `file`."""

    name: Annotated[str, AfterValidator(_name)]
    scopes: Annotated[tuple[TokenScope, ...], AfterValidator(_some)]
    sha256: Annotated[SecretStr | None, AfterValidator(_digest)] = None
    env: Text | None = None
    file: Path | None = None

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        given = [key for key in ("sha256", "env", "file") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"the secret of {self.name} is one of sha256, env or file; it has {len(given)}")
        return self

    def digest(self, environ: Mapping[str, str]) -> bytes:
        """The SHA-256 of the secret; raises ConfigError where the variable or the file doesn't have one."""
        if self.sha256 is not None:
            return bytes.fromhex(self.sha256.get_secret_value())
        secret = (
            _of_file(self.name, self.file) if self.file else _of_variable(self.name, self.env or "", environ)
        )
        if len(secret) < SHORTEST_SECRET:
            raise ConfigError(
                f"http.tokens: the secret of {self.name} has less than {SHORTEST_SECRET} characters:"
                " make one with `openssl rand -hex 32`"
            )
        return sha256(secret).digest()


def _of_variable(name: str, variable: str, environ: Mapping[str, str]) -> bytes:
    if variable not in environ:
        raise ConfigError(f"http.tokens: {name}: the variable {variable} is not set for the daemon")
    return environ[variable].strip().encode()


def _of_file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"http.tokens: {name}: can't read {path}: {error.strerror}") from error


def named_once(tokens: Sequence[Token]) -> Sequence[Token]:
    """`tokens`; raises ValueError where two share a name, so that the history is about one of them."""
    names = [token.name for token in tokens]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{', '.join(sorted(twice))} is given twice: names tell tokens apart")
    return tokens
