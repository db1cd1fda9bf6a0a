"""YAML nodes → plain values, by rules of our own: a flaw is noted with its place, and reading goes on.

Only `true` and `false` are booleans, only plain decimal, 0x, 0o and float forms are numbers; `on`, `12:30`,
`0777` and dates are strings. No tag but the core schema's means anything, and no tag constructs an object.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import yaml

from taskd.schedule.json_value import INT_MAX, INT_MIN
from taskd.source.nodes import CORE, MAP, PLAIN, SEQ, STR, place

# YAML 1.2's core schema, but lower-case words only and no leading zeros.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|\.inf)|\.nan")
_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_FLOAT_TAG = f"{CORE}float"
_TAGGED = {f"{CORE}null": (NoneType,), f"{CORE}bool": (bool,), f"{CORE}int": (int,), _FLOAT_TAG: (int, float)}
_MAY_BE_NUMBER = frozenset("-+.0123456789")


class Unreadable:
    """Stands for a value whose flaw is already noted: no field takes it."""

    def __repr__(self) -> str:
        return "something unreadable"


UNREADABLE = Unreadable()


@dataclass(slots=True)
class Values:
    """Reads nodes as plain values; what is wrong with a part of them is kept in `flaws`, and reading goes on."""

    flaws: list[tuple[yaml.Node, str]] = field(default_factory=list)

    def read(self, node: yaml.Node) -> Any:
        """None, bool, int, float, str, list or dict; UNREADABLE where a flaw was noted."""
        tag, value = node.tag, node.value
        if tag is PLAIN and value[:1] not in _MAY_BE_NUMBER:
            return _WORDS.get(value, value)
        if tag == STR and isinstance(value, str):
            return value
        if tag == MAP and isinstance(node, yaml.MappingNode):
            return {key: self.read(child) for key, _, child in self.pairs(node)}
        if tag == SEQ and isinstance(node, yaml.SequenceNode):
            return [self.read(child) for child in value]
        return self._scalar(node) if isinstance(node, yaml.ScalarNode) else self._bad_tag(node)

    def pairs(self, node: yaml.MappingNode) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """(key, its node, the value's node), for each sound key of a map."""
        seen: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            key = self.read(key_node)
            if not isinstance(key, str):
                if key is not UNREADABLE:
                    self.flaws.append((key_node, "a key must be a string: put it in quotes"))
            elif key == "<<" and key_node.tag is PLAIN:
                self.flaws.append(
                    (key_node, "merge keys aren't supported: what schedules share goes into defaults")
                )
            elif key in seen:
                line, _ = place(seen[key])
                self.flaws.append((key_node, f"duplicate key {key!r}, first given on line {line}"))
            else:
                seen[key] = key_node
                yield key, key_node, value_node

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        value = plain(node.value)
        if node.tag is not PLAIN and type(value) not in _TAGGED.get(node.tag, ()):
            return self._bad_tag(node)
        if type(value) is int and not INT_MIN <= value <= INT_MAX:
            self.flaws.append((node, "an integer must fit in 64 bits: put it in quotes"))
            return UNREADABLE
        return float(value) if node.tag == _FLOAT_TAG else value

    def _bad_tag(self, node: yaml.Node) -> Unreadable:
        tag = node.tag.replace(CORE, "!!")
        self.flaws.append((node, f"the tag {tag} can't be used here: write a plain value"))
        return UNREADABLE


def plain(text: str) -> Any:
    """The value of an unquoted scalar."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        # Far beyond 64 bits the exact value is of no use, and reading it is slow.
        return int(text, 0) if len(text) <= 40 else INT_MAX + 1
    if _FLOAT.fullmatch(text):
        return float(text.replace(".inf", "inf").replace(".nan", "nan"))
    return text
