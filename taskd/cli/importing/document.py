"""Entries → the text of a schedule file that a person goes on with."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import yaml

from taskd.cli.importing.entry import Entry

_PLAIN = re.compile(r"[A-Za-z][\w.+/-]*(?: [\w.+/-]+)*|(?:\d+[dhms])+")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
_WIDTH = 110


class _Dumper(yaml.SafeDumper):
    """Texts in quotes unless they can't be taken for anything else, by any version of YAML."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


class _Short(dict[str, Any]):
    """A map that fits on a line."""


_Dumper.add_representer(str, _text)
_Dumper.add_representer(
    list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, True)
)
_Dumper.add_representer(
    _Short, lambda dumper, each: dumper.represent_mapping("tag:yaml.org,2002:map", each, True)
)


def written(title: str, old: str, entries: Iterable[Entry]) -> str:
    """The file: what it is, the steps of the cut-over, the schedules; `old` names what fires them now."""
    found = list(entries)
    body = "\n".join(_block(entry) for entry in found if entry.lost is None) or "  {}\n"
    lost = "".join(_lost(entry) for entry in found if entry.lost is not None)
    return f"{_head(title, old, found)}\nschedules:\n{body}{lost}"


def _head(title: str, old: str, entries: list[Entry]) -> str:
    lost = sum(entry.lost is not None for entry in entries)
    lines = [
        title,
        f"{len(entries) - lost} carried over, {lost} not: those stand at the end, as comments.",
        "",
        "The cut-over, in this order, or what is due runs twice or not at all:",
        "  1. Read the comments below. `taskd check FILE` says whether the file is valid, `taskd next` when things come.",
        f"  2. Stop {old}, and see to it that it doesn't come back: two schedulers fire everything twice.",
        "  3. Put this file into the folder that schedules.paths names, and start `taskd run`, or call `taskd sync`.",
        "  4. `taskd list` shows when each is due next. To go back: take the file away, `taskd sync`, start the old one.",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def schedule(name: str, keys: Mapping[str, Any]) -> str:
    """One schedule, as it stands below `schedules:`."""
    return _indented(_yaml({name: keys}), "  ")


def _block(entry: Entry) -> str:
    notes = "".join(f"  # {line}\n" for note in entry.notes for line in _lines(note))
    return notes + schedule(entry.name, entry.keys)


def _lost(entry: Entry) -> str:
    reason = "".join(f"  # {line}\n" for line in _lines(f"not carried over: {entry.lost}"))
    notes = "".join(f"  # {line}\n" for note in entry.notes for line in _lines(note))
    return "\n" + reason + notes + _indented(_yaml({entry.name: entry.keys}), "  #   ")


def _yaml(value: Mapping[str, Any]) -> str:
    return yaml.dump(
        {name: {key: _shortened(part) for key, part in keys.items()} for name, keys in value.items()},
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        width=_WIDTH,
    )


def _shortened(value: Any) -> Any:
    return _Short(value) if isinstance(value, dict) and len(repr(value)) < _WIDTH - 40 else value


def _indented(text: str, by: str) -> str:
    return "".join(f"{by}{line}\n" if line else "\n" for line in text.splitlines())


def _lines(text: str) -> Iterator[str]:
    """A note on one line each: whatever it quotes, nothing of it gets out of the comment."""
    yield "".join(char if char.isprintable() else " " for char in text)
