"""crontab(5) files: a user's, or those of /etc/cron.d with a column for the user.

Cron hands each command to a shell; `taskd.tasks.run_command` starts a program without one. A command that needs
none becomes its list of arguments, any other is handed to the shell by name: the list of allowed programs has to say so.
"""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from taskd.cli.importing.entry import Entry, usable_name

TASK = "taskd.tasks.run_command"
_SETTING = re.compile(r"\s*([A-Za-z_]\w*|\"\w+\"|'\w+')\s*=\s*(.*)")
_NEEDS_A_SHELL = re.compile(
    r"[|&;<>()$`\\*?\[\]#~=!{}\n]|^\s*(?:\.|cd|exec|export|if|for|while|test|ulimit|umask)\s"
)
_RANDOM = re.compile(r"(\d+)~(\d+)")
_AROUND = {"env", "nice", "ionice", "sudo", "exec", "timeout", "nohup"}
_BEFORE = {"cd", "test", "[", "export", ".", "source", "umask"}
_NOT_ENVIRONMENT = {"SHELL", "MAILTO", "MAILFROM", "CRON_TZ", "HOME", "RANDOM_DELAY", "LOGNAME"}


@dataclass
class _Surroundings:
    """The settings above a line: each is in force from where it stands."""

    timezone: str
    given: dict[str, str] = field(default_factory=dict)

    @property
    def shell(self) -> str:
        return self.given.get("SHELL", "/bin/sh")

    @property
    def environment(self) -> dict[str, str]:
        return {name: value for name, value in self.given.items() if name not in _NOT_ENVIRONMENT}


def entries_of_crontab(text: str, timezone: str, *, system: bool) -> Iterator[Entry]:
    """The entries of a file's text; `system`: it has a column for the user. Read in `timezone` unless it says CRON_TZ."""
    around, taken = _Surroundings(timezone), set[str]()
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if setting := _SETTING.fullmatch(line):
            name, value = setting[1].strip("\"'"), _unquoted(setting[2].strip())
            around.given[name] = value
            if name == "CRON_TZ":
                around.timezone = value
            continue
        yield _entry(stripped, number, around, taken, system=system)


def _entry(line: str, number: int, around: _Surroundings, taken: set[str], *, system: bool) -> Entry:
    nickname = line.startswith("@")
    columns = (1 if nickname else 5) + system
    parts = line.split(None, columns)
    if len(parts) <= columns:
        return Entry(usable_name(f"line-{number}", taken), {"task": TASK}, (line,), "it has too few fields")
    when, command = parts[: columns - system], parts[columns]
    program, stdin = _split(command)
    name = usable_name(_name(program), taken)
    notes = [f"line {number}: {line}", *_notes(parts[columns - 1] if system else None, around)]
    if when == ["@reboot"]:
        return Entry(
            name, {"task": TASK}, tuple(notes), "it runs when the machine starts: a systemd unit does that"
        )
    keys = {"task": TASK, **_when(when, around.timezone), "kwargs": _call(program, stdin, around)}
    return Entry(name, keys, tuple(notes))


def _when(when: list[str], timezone: str) -> dict[str, Any]:
    if len(when) == 1:
        return {"crontab": when[0].replace("@annually", "@yearly"), "timezone": timezone}
    # cronie picks a value of `a~b` once at its start; H picks one from the name, and keeps it.
    fields = [_RANDOM.sub(r"H(\1-\2)", part).lower().replace("h(", "H(") for part in when]
    both = "*" not in (fields[2], fields[4]) and "*" in (fields[2][0], fields[4][0])
    # cron(8): with `*/2` in a day field and the other restricted, both must match.
    return {"crontab": " ".join(fields), "timezone": timezone, **({"day_match": "and"} if both else {})}


def _call(program: str, stdin: str | None, around: _Surroundings) -> dict[str, Any]:
    call: dict[str, Any] = {"argv": _argv(program, around.shell)}
    if stdin is not None:
        call["stdin"] = stdin
    if around.environment:
        call["env"] = around.environment
    if "HOME" in around.given:
        call["cwd"] = around.given["HOME"]
    return call


def _argv(program: str, shell: str) -> list[str]:
    if not _NEEDS_A_SHELL.search(program):
        try:
            return shlex.split(program)
        except ValueError:
            pass
    return [shell, "-c", program]


def _split(command: str) -> tuple[str, str | None]:
    r"""Command and standard input: crontab(5) ends the command at the first `%`; further ones are line ends, `\%` is %."""
    first, *rest = re.split(r"(?<!\\)%", command)
    parts = [part.replace("\\%", "%") for part in rest]
    return first.replace("\\%", "%").strip(), "\n".join(parts) + "\n" if parts else None


def _notes(user: str | None, around: _Surroundings) -> Iterator[str]:
    if user is not None:
        yield f"it ran as {user}: give it the queue of a worker that runs as that user"
    if around.given.get("MAILTO"):
        yield f"its output was mailed to {around.given['MAILTO']}: here it is kept with the run"
    if around.given.get("RANDOM_DELAY"):
        yield f"it was delayed by up to {around.given['RANDOM_DELAY']} minutes: see the key jitter"


def _name(command: str) -> str:
    """What a command is mostly about: its first program that isn't there for the surroundings only."""
    parts = (part.split() for part in re.split(r"&&|\|\||[;|]", command))
    for words in parts:
        own = [word for word in words if "=" not in word and word not in _AROUND]
        if own and words[0] not in _BEFORE:
            return PurePath(own[0].strip("\"'()")).name or "command"
    return "command"


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
