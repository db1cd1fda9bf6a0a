"""`${VAR}`, `${VAR:-default}` and `${file:/path}` in the text of a setting."""

import re
from collections.abc import Mapping
from pathlib import Path

from taskd.errors import ConfigError

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<body>[^}]*)(?P<end>\}?)")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def expand(text: str, variables: Mapping[str, str], folder: Path) -> str:
    """`text` with its references replaced, once: what they bring in isn't expanded again.

    `$${` stands for a literal `${`. As in a shell, `:-` covers the unset and the empty variable. A file gives
    its content without the last line break; its path is relative to `folder`. Raises ConfigError.
    """
    return _REFERENCE.sub(lambda reference: _replacement(reference, variables, folder), text)


def _replacement(reference: re.Match[str], variables: Mapping[str, str], folder: Path) -> str:
    if reference["body"] is None:
        return "${"
    if not reference["end"]:
        raise ConfigError("'${' is never closed; write '$${' for a literal '${'")
    if reference["body"].startswith("file:"):
        return _content(folder / reference["body"].removeprefix("file:"))
    return _variable(reference["body"], variables)


def _variable(body: str, variables: Mapping[str, str]) -> str:
    parts = _VARIABLE.fullmatch(body)
    if parts is None:
        raise ConfigError(f"'${{{body}}}' is not ${{VAR}}, ${{VAR:-default}} or ${{file:/path}}")
    if parts["default"] is not None:
        return variables.get(parts["name"]) or parts["default"]
    if parts["name"] not in variables:
        raise ConfigError(
            f"the variable {parts['name']} is not set; set it, or write ${{{parts['name']}:-default}}"
        )
    return variables[parts["name"]]


def _content(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n")
    except OSError as error:
        raise ConfigError(f"can't read {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"can't read {path}: {error}") from error
