"""What may travel to a worker: JSON, within limits that every broker, serialiser and database keeps."""

import math
from collections.abc import Iterator
from typing import Any

DEEPEST = 32
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

Flaw = tuple[tuple[str | int, ...], str]
"""Where in the value (keys and indexes), and a sentence."""


def flaws(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[Flaw]:
    """Everything in `value` that isn't JSON or can't be kept; nothing when all is well."""
    if len(at) > DEEPEST:
        yield at, f"is nested deeper than {DEEPEST} levels"
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from flaws(item, (*at, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                yield at, f"the key {key!r} is not a string: put it in quotes"
                continue
            if sentence := _flaw(key):
                yield (*at, key), sentence
            yield from flaws(item, (*at, key))
    elif sentence := _flaw(value):
        yield at, sentence


def _flaw(value: object) -> str | None:
    match value:
        case None | bool():
            return None
        case str():
            # PostgreSQL keeps NUL neither in text nor in JSON, and no database half of a surrogate pair.
            bad = "\0" in value or (
                not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value)
            )
            return "text with a NUL character or half of a surrogate pair can't be kept" if bad else None
        case int():
            small = INT_MIN <= value <= INT_MAX
            return None if small else "an integer must fit in 64 bits: write it as a string"
        case float():
            return None if math.isfinite(value) else f"{value} is not a JSON value"
        case _:
            return f"a {type(value).__name__} is not a JSON value"
