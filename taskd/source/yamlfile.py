"""One schedule file: bytes → the schedules it declares, and everything that is wrong with it, each with its place."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal
from unicodedata import normalize

import yaml
from pydantic import ValidationError

from taskd.schedule.faults import Fault, did_you_mean, faults_of, shorten
from taskd.schedule.spec import ScheduleSpec
from taskd.source.advice import advice_on
from taskd.source.nodes import InvalidYaml, compose, find, is_map, place
from taskd.source.values import UNREADABLE, Values

MAX_SCHEDULES = 10_000
MAX_PROBLEMS = 1_000

_SECTIONS = ("defaults", "schedules")
OWN_ONLY = frozenset(
    {"name", "task", "schedule_type", "crontab", "interval", "interval_seconds", "date", "replaces"}
)
"""Keys that can't be defaults."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something to tell the file's author; `line` and `column` count from 1."""

    path: str
    line: int
    column: int
    schedule: str | None
    message: str
    severity: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        name = f"{shorten(self.schedule)}: " if self.schedule is not None else ""
        return f"{self.path}:{self.line}:{self.column}: {name}{self.message}"


@dataclass(frozen=True, slots=True)
class Declared:
    """A valid schedule and where its name stands."""

    spec: ScheduleSpec
    path: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class FileReading:
    """What one content of one file says. `digest` is of the content; both are None where it couldn't be read.

    `schedules` are the valid ones; when `broken`, they aren't all that the file means to declare, and `last_good`
    has what it declared before, as far as that is known. `names` are those of all its schedules, good and bad; None
    where they can't be told.
    """

    path: str
    digest: str | None
    schedules: tuple[Declared, ...]
    problems: tuple[Problem, ...]
    names: frozenset[str] | None = None
    content: bytes | None = field(default=None, repr=False, compare=False)
    last_good: tuple[Declared, ...] = field(default=(), repr=False, compare=False)

    @property
    def counting(self) -> tuple[Declared, ...]:
        """What it stands for now: an error keeps the last good state."""
        return self.last_good if self.broken else self.schedules

    @property
    def broken(self) -> bool:
        """Whether anything in it is an error: then the file's last good state goes on."""
        return any(problem.severity == "error" for problem in self.problems)


def digest_of(data: bytes) -> str:
    """32 hex digits that stand for a content."""
    return blake2b(data, digest_size=16).hexdigest()


def read_file(data: bytes, path: str, timezone: str) -> FileReading:
    """Reads one file's content; `timezone` is for schedules that name none. Raises nothing for any bytes."""
    file = _File(path, timezone)
    try:
        root = compose(data)
    except InvalidYaml as error:
        file.report((error.line, error.column), str(error))
    else:
        if root is not None:
            file.read(root)
    return FileReading(path, digest_of(data), tuple(file.schedules), file.problems(), file.names, data)


class _File:
    """The reading of one file under way."""

    def __init__(self, path: str, timezone: str) -> None:
        self.path, self.timezone = path, timezone
        self.schedules: list[Declared] = []
        self.names: frozenset[str] | None = None
        self._values = Values()
        self._defaults: dict[str, Any] = {}
        self._defaults_node: yaml.Node | None = None
        self._defaults_faults: frozenset[Fault] = frozenset()
        self._problems: dict[Problem, None] = {}  # an ordered set: a shared node is read more than once

    def report(
        self,
        at: yaml.Node | tuple[int, int],
        message: str,
        schedule: str | None = None,
        severity: Literal["error", "warning"] = "error",
    ) -> None:
        line, column = place(at) if isinstance(at, yaml.Node) else at
        self._problems[Problem(self.path, line, column, schedule, message, severity)] = None

    def problems(self) -> tuple[Problem, ...]:
        found = sorted(self._problems, key=lambda problem: (problem.line, problem.column))
        if len(found) <= MAX_PROBLEMS:
            return tuple(found)
        last = found[MAX_PROBLEMS - 1]
        rest = Problem(self.path, last.line, last.column, None, "more problems follow: mend these first")
        return (*found[:MAX_PROBLEMS], rest)

    def read(self, root: yaml.Node) -> None:
        sections = {}
        for key, key_node, node in self._pairs(root, "a schedule file"):
            if len(self._problems) > MAX_PROBLEMS:
                return
            if key in _SECTIONS:
                sections[key] = node
            else:
                hint = did_you_mean(key, _SECTIONS) or ": a file has 'defaults' and 'schedules'"
                self.report(key_node, f"unknown key {shorten(repr(key))}{hint}")
        if "defaults" in sections:
            self._read_defaults(sections["defaults"])
        if "schedules" in sections:
            self._read_schedules(sections["schedules"])
        self._report_flaws(None)

    def _pairs(self, node: yaml.Node, what: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        if is_map(node):
            yield from self._values.pairs(node)
        elif self._values.read(node) not in (None, UNREADABLE):
            self.report(node, f"{what} must be a map of keys and values")

    def _read_defaults(self, node: yaml.Node) -> None:
        self._defaults_node = node
        for key, key_node, value_node in self._pairs(node, "defaults"):
            if key in OWN_ONLY:
                self.report(key_node, f"{key}: can't be a default, each schedule has its own")
            else:
                self._defaults[key] = self._values.read(value_node)
        flawed = self._report_flaws(None)
        # Tried with a trigger that allows every default, so that they are checked whatever the schedules are.
        faults = self._check({**self._defaults, "name": "defaults", "task": "defaults", "crontab": "@yearly"})
        if isinstance(faults, list):
            self._defaults_faults = frozenset(faults)
            for fault in faults:
                self._report_fault(fault, None, node, node, flawed)

    def _read_schedules(self, node: yaml.Node) -> None:
        lines: dict[str, int] = {}
        for name, name_node, body in self._pairs(node, "schedules"):
            self._report_flaws(None)
            if len(lines) == MAX_SCHEDULES:
                self.report(name_node, f"a file declares at most {MAX_SCHEDULES} schedules: split it")
            if len(lines) == MAX_SCHEDULES or len(self._problems) > MAX_PROBLEMS:
                return
            line = lines.get(same := normalize("NFC", name))
            if line is not None:
                self.report(name_node, f"is the same name as on line {line}", name)
            lines[same], _ = place(name_node)
            self._read_schedule(name, name_node, body)
        if is_map(node) and len(lines) == len(node.value):
            self.names = frozenset(lines)

    def _read_schedule(self, name: str, name_node: yaml.Node, body: yaml.Node) -> None:
        own = self._values.read(body)
        flawed = self._report_flaws(name)
        if not isinstance(own, dict):
            if own is not UNREADABLE:
                self.report(body, "must be a map of keys, with a task and a trigger", name)
            return
        if "name" in own:
            at = find(body, ("name",), of_key=True) or name_node
            self.report(at, "name: can't be given here, the name is the key above", name)
        checked = self._check({**self._defaults_for(own), **own, "name": name})
        if isinstance(checked, ScheduleSpec):
            self.schedules.append(Declared(checked, self.path, *place(name_node)))
            self._warn(checked, body)
            return
        for fault in checked:
            inherited = fault.loc and fault.loc[0] in self._defaults and fault.loc[0] not in own
            if not (inherited and fault in self._defaults_faults):
                self._report_fault(fault, name, name_node, body, flawed)

    def _defaults_for(self, own: dict[str, Any]) -> dict[str, Any]:
        # What has no meaning for this trigger isn't inherited: it would be refused if the schedule had it.
        unfit = {"day_match", "dst"} if "crontab" not in own else set()
        unfit |= {"start_time"} if "date" in own else set()
        return {key: value for key, value in self._defaults.items() if key not in unfit}

    def _check(self, declaration: dict[str, Any]) -> ScheduleSpec | list[Fault]:
        try:
            return ScheduleSpec.read(declaration, self.timezone)
        except ValidationError as error:
            return faults_of(error)

    def _report_fault(
        self,
        fault: Fault,
        name: str | None,
        name_node: yaml.Node,
        body: yaml.Node,
        flawed: set[tuple[int, int]],
    ) -> None:
        node = None if fault.loc[:1] == ("name",) else self._node_of(fault, body)
        at = place(node or name_node)
        if at not in flawed:  # the flaw says more than "must be a string, not something unreadable"
            self.report(at, str(fault), name)

    def _node_of(self, fault: Fault, body: yaml.Node) -> yaml.Node | None:
        own = find(body, fault.loc, of_key=fault.of_key)
        if own is None and self._defaults_node is not None:
            return find(self._defaults_node, fault.loc, of_key=fault.of_key)
        return own

    def _report_flaws(self, schedule: str | None) -> set[tuple[int, int]]:
        """Moves the flaws of what was read since the last time to the problems; their places."""
        flaws, self._values.flaws = self._values.flaws, []
        for node, sentence in flaws:
            self.report(node, sentence, schedule)
        return {place(node) for node, _ in flaws}

    def _warn(self, spec: ScheduleSpec, body: yaml.Node) -> None:
        for keys, sentence in advice_on(spec):
            nodes = (find(node, (key,)) for node in (body, self._defaults_node) if node for key in keys)
            self.report(next(filter(None, nodes), body), sentence, spec.name, "warning")
