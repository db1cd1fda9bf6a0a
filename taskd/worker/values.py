"""Whatever a task takes or returns, as JSON that every database stores, within a size. Pure; never raises."""

import json
import math
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from kombu.utils.encoding import safe_repr

REPR = "taskd:repr"  # {"taskd:repr": text}: this part is no JSON
CUT = "taskd:cut"  # {"taskd:cut": the beginning of its JSON, "bytes": size of all of it}
DEEPEST = 24  # MariaDB's JSON ends at 32 levels
REPR_LENGTH = 1024  # characters
TRACEBACK_BYTES = 64 * 1024
_LONGEST_INT = 1024  # bits; Python refuses to print very long ones


def storable(value: Any, max_bytes: int) -> Any:
    """`value` as JSON: lossless where it is JSON; dates and the like as text; flagged where it is neither."""
    plain = _plain(value, ())
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) <= max_bytes:
        return plain
    return {CUT: text[: max_bytes // 2].decode(errors="ignore"), "bytes": len(text)}


def storable_args(args: Any, max_bytes: int) -> list[Any] | None:
    """Positional arguments as a JSON list."""
    stored = storable(args, max_bytes)
    return stored if stored is None or isinstance(stored, list) else [stored]


def storable_kwargs(kwargs: Any, max_bytes: int) -> dict[str, Any] | None:
    """Keyword arguments as a JSON object."""
    stored = storable(kwargs, max_bytes)
    return stored if stored is None or isinstance(stored, dict) else {"": stored}


def storable_traceback(traceback: str | None) -> str | None:
    """The traceback as text; of a very long one the end, where the error is."""
    if not traceback:
        return None
    text = clean(str(traceback)).encode()
    return text[-TRACEBACK_BYTES:].decode(errors="ignore")


def clean(text: str) -> str:
    """`text` without what some database refuses: lone surrogates and NUL become escapes that can be read."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


def _plain(value: Any, above: tuple[int, ...]) -> Any:
    """`above`: the ids of the containers around it, against cycles."""
    container = isinstance(value, (Mapping, list, tuple, set, frozenset))
    if not container or len(above) >= DEEPEST or id(value) in above:
        return _scalar(value)
    inside = (*above, id(value))
    if isinstance(value, Mapping):
        return {_key(key): _plain(part, inside) for key, part in value.items()}
    return [_plain(part, inside) for part in value]


def _scalar(value: Any) -> Any:
    match value:
        case str():
            return clean(value)
        case None | bool():
            return value
        case int() | float() if _is_json(value):
            return value
        case date() | time():  # and datetime
            return value.isoformat()
        case UUID() | Decimal() | PurePath():
            return clean(str(value))
    return {REPR: clean(str(safe_repr(value)))[:REPR_LENGTH]}


def _is_json(number: float) -> bool:
    return number.bit_length() <= _LONGEST_INT if isinstance(number, int) else math.isfinite(number)


def _key(key: Any) -> str:
    return clean(key if isinstance(key, str) else str(safe_repr(key)))
