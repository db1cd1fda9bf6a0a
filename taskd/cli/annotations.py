"""Annotations of a pull request: GitHub's workflow commands.

    ::error file=schedules/a.yaml,line=4,col=5,title=b::cronttab: unknown key

GitHub shows 10 errors, 10 warnings and 10 notices of a step, so what matters most comes first. Its runner gives back
%, CR and LF from %25, %0D and %0A, and in a property also : and , from %3A and %2C.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from taskd.cli import output, planned

_VERBS = {
    "deletes": "is deleted",
    "held": "would be deleted, and is held",
    "updates": "changes",
    "renames": "is renamed",
    "creates": "is new",
}


def of_problems(severity: str, found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line for each problem of a file; `severity` is error or warning."""
    for each in found:
        yield _command(severity, each, each["name"] or "taskd", each["message"])


def of_plan(plan: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong, then a summary and one line for each change, with the fire times that it gains and loses."""
    yield from of_problems("error", planned.errors_of(plan))
    yield from of_problems("warning", plan["warnings"])
    yield _command("notice", {}, "taskd plan", planned.summary(plan))
    for kind, verb in _VERBS.items():
        for each in plan[kind]:
            fields = [line.plain.strip() for line in planned.details(each)]
            yield _command("notice", each, each["name"], "\n".join([f"{each['name']} {verb}", *fields]))


def _command(level: str, place: Mapping[str, Any], title: str, message: str) -> str:
    file = place.get("path")
    where = {
        "file": file and output.near(Path(file).absolute()),
        "line": place.get("line"),
        "col": place.get("column"),
        "title": title,
    }
    properties = ",".join(
        f"{key}={_property(str(value))}" for key, value in where.items() if value is not None
    )
    return f"::{level} {properties}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
