"""What is wrong with a declaration, in sentences: the same for files and for the API."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from difflib import get_close_matches
from itertools import islice
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from taskd.schedule.policy_fields import PARTS
from taskd.schedule.spec import NotOneTrigger, declared_keys

MOST = 1000
"""Nobody reads more faults of one declaration than this; the bound keeps a hostile one cheap."""

_KEYS = frozenset(declared_keys())
_SAME_AS = {"interval_seconds": "interval", "start_time": "date"}
_EXPECTED = {
    "string_type": "a string",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map of keys and values",
    "dataclass_type": "a map of keys and values",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """`loc`: the keys and indexes that lead to it, () for the declaration as a whole.

    `of_key` says that the last key itself is wrong, not its value.
    """

    loc: tuple[str | int, ...]
    message: str
    of_key: bool = False

    def __str__(self) -> str:
        where = ".".join(shorten(str(part)) for part in self.loc)
        # Some sentences begin with their key: "crontab '0 0 30 2 *' never occurs".
        told = not where or self.message.startswith(f"{where} ")
        return self.message if told else f"{where}: {self.message}"


def faults_of(error: ValidationError) -> list[Fault]:
    """Everything that a failed validation of a ScheduleSpec found, in the order of the fields."""
    return list(islice(_faults(error), MOST))


def _faults(error: ValidationError) -> Iterator[Fault]:
    for details in error.errors(include_url=False):
        if isinstance(flaw := details.get("ctx", {}).get("error"), NotOneTrigger):
            yield Fault((flaw.key,) if flaw.key else (), str(flaw), of_key=True)
        else:
            loc = details["loc"]
            # pydantic marks a map's bad key by one more step.
            inner = len(loc) > 1 and loc[-1] == "[key]" and loc[0] == "labels"
            of_key = inner or details["type"] in {"extra_forbidden", "unexpected_keyword_argument"}
            yield Fault(loc[:-1] if inner else loc, _sentence(details), of_key)


def _sentence(details: ErrorDetails) -> str:  # noqa: PLR0911 (one line for each kind of error)
    given, limits = details["input"], details.get("ctx", {})
    match kind := details["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return _unknown(details["loc"])
        case "value_error":
            return str(limits["error"])
        case "missing":
            return "is missing: every schedule needs it"
        case "literal_error":
            return f"must be {limits['expected']}, not {shown(given)}{did_you_mean(given, _choices(limits))}"
        case "greater_than_equal":
            return f"must be at least {limits['ge']}, not {shown(given)}"
        case "less_than_equal":
            return f"must be at most {limits['le']}, not {shown(given)}"
        case _ if kind in _EXPECTED:
            quote = (
                ": put it in quotes" if kind == "string_type" and not isinstance(given, list | dict) else ""
            )
            return f"must be {_EXPECTED[kind]}, not {shown(given)}{quote}"
        case _:
            return details["msg"]


def _choices(limits: dict[str, Any]) -> list[str]:
    return [word.strip("' ") for word in limits["expected"].replace(" or ", ",").split(",")]


def _unknown(loc: tuple[str | int, ...]) -> str:
    part = PARTS.get(str(loc[0]))
    if part is None or len(loc) == 1:
        return unknown_key(str(loc[-1]))
    known = [field.name for field in fields(part)]
    hint = did_you_mean(loc[-1], known) or f": use {', '.join(known)}"
    return f"unknown key{hint}"


def unknown_key(key: str, known: Iterable[str] = _KEYS) -> str:
    """Why `key` is refused, with the nearest right one."""
    if key in _SAME_AS:
        return f"means the same as {_SAME_AS[key]}: keep one of them"
    return f"unknown key{did_you_mean(key, known)}"


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """`, did you mean 'x'?`, or nothing when no known word is near."""
    near = get_close_matches(word, known, n=1) if isinstance(word, str) and len(word) <= 64 else []
    return f", did you mean {near[0]!r}?" if near else ""


def shown(value: Any) -> str:
    """The value as a person wrote it, near enough to find it."""
    match value:
        case True | False:
            return str(value).lower()
        case list():
            return "a list"
        case dict():
            return "a map"
        case _:
            return shorten(repr(value))


def shorten(text: str) -> str:
    """At most 60 characters of it."""
    return text if len(text) <= 60 else f"{text[:57]}…"
