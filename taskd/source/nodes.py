"""Text → YAML nodes, within limits that hold before anything can blow up.

Attack                              Held by
deep nesting (libyaml's composer    a count in the composer itself, since it recurses in C
recurses in C)
billion laughs, cycles, depth by    the node graph, walked without recursion before it is read
chained aliases
UTF-16, NUL, control characters     the bytes, before YAML sees them
tags that construct, duplicate      values.py, which reads the nodes
keys, `<<`, huge ints
"""

import re
from collections.abc import Iterable
from typing import Any, TypeGuard

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from taskd.errors import InvalidSchedule

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_EXPANSION = 10

CORE = "tag:yaml.org,2002:"
STR, MAP, SEQ = f"{CORE}str", f"{CORE}map", f"{CORE}seq"
PLAIN = "plain"
"""Instead of a tag: a scalar without quotes and tag. Compared by identity, since a file may write `!<plain>`."""

_REFUSED = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16", b"\0\0\xfe\xff": "UTF-32"}


class InvalidYaml(InvalidSchedule):
    """A text that can't be read as YAML at all, or not within the limits; `line` and `column` count from 1."""

    def __init__(self, sentence: str, line: int = 1, column: int = 1) -> None:
        super().__init__(sentence)
        self.line, self.column = line, column

    @classmethod
    def at(cls, node: yaml.Node, sentence: str) -> "InvalidYaml":
        """The error at the beginning of a node."""
        return cls(sentence, *place(node))


def place(node: yaml.Node) -> tuple[int, int]:
    """Line and column, from 1, at which a node begins."""
    return node.start_mark.line + 1, node.start_mark.column + 1


def is_map(node: yaml.Node) -> TypeGuard[yaml.MappingNode]:
    """Whether it is a map, and nothing that a tag makes of one."""
    return isinstance(node, yaml.MappingNode) and node.tag == MAP


def find(root: yaml.Node, loc: Iterable[str | int], *, of_key: bool = False) -> yaml.Node | None:
    """The node that keys and indexes lead to, or as far as they lead; None where the first leads nowhere.

    `of_key`: the node of the last key instead of its value.
    """
    key_node, node = root, root
    for step in loc:
        pair = _step(node, step)
        if pair is None:
            break
        key_node, node = pair
    if node is root:
        return None
    return key_node if of_key else node


def _step(node: yaml.Node, step: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        return (node.value[step], node.value[step])
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return next(((key, child) for key, child in pairs if key.value == step), None)


class _Rules:
    """What both of PyYAML's composers ask while they build nodes."""

    _depth = 0

    def descend_resolver(self, parent: yaml.Node | None, _index: object) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH + 1 and parent is not None:
            raise InvalidYaml.at(parent, f"is nested deeper than {MAX_DEPTH} levels")

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: type[yaml.Node], _value: object, implicit: Any) -> str:
        if kind is yaml.ScalarNode:
            return PLAIN if implicit[0] else STR
        return MAP if kind is yaml.MappingNode else SEQ


class PythonComposer(_Rules, Reader, Scanner, Parser, Composer):
    """Without libyaml: the same nodes, slower."""

    def __init__(self, data: bytes) -> None:
        Reader.__init__(self, data)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


try:
    from yaml._yaml import CParser
except ImportError:
    FastestComposer: type[Any] = PythonComposer
else:

    class LibyamlComposer(_Rules, CParser):
        """libyaml's parser and composer."""

    FastestComposer = LibyamlComposer


def compose(data: bytes, composer: type[Any] = FastestComposer) -> yaml.Node | None:
    """The one document's root node, None where there is no document; raises InvalidYaml."""
    text = _decode(data)
    try:
        root: yaml.Node | None = composer(text.encode()).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        if isinstance(error, InvalidYaml):
            raise
        raise InvalidYaml(f"is not YAML: {error}") from None
    if root is not None and "&" in text:
        _check_aliases(root)
    return root


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise InvalidYaml("is larger than 1 MiB: split it")
    for bom, encoding in _BOMS.items():
        if data.startswith(bom):
            raise InvalidYaml(f"is encoded in {encoding}: save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig")
        raise InvalidYaml("is not UTF-8: save it as UTF-8", *_line_column(before, len(before))) from None
    if refused := _REFUSED.search(text):
        raise InvalidYaml(
            f"control character U+{ord(refused[0]):04X}: take it out", *_line_column(text, refused.start())
        )
    return text


def _line_column(text: str, index: int) -> tuple[int, int]:
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> InvalidYaml:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return InvalidYaml(f"is not YAML: {error}")
    sentence = f"{error.problem}{_context(error)}"
    if "single document" in str(error.context):
        sentence = "a second document begins here: one file is one document"
    elif error.context_mark is not None and "scanning an alias" in str(error.context):
        mark, sentence = error.context_mark, "a value that begins with * must be in quotes"
    elif "cannot start any token" in sentence:
        sentence = _first_character(text, mark) or sentence
    return InvalidYaml(sentence, mark.line + 1, mark.column + 1)


def _first_character(text: str, mark: Any) -> str | None:
    lines = text.split("\n")
    char = lines[mark.line][mark.column : mark.column + 1] if mark.line < len(lines) else ""
    if char == "\t":
        return "indent with spaces, not tabs"
    return f"a value that begins with {char} must be in quotes" if char else None


def _context(error: yaml.MarkedYAMLError) -> str:
    if not error.context:
        return ""
    begins = f" that begins on line {error.context_mark.line + 1}" if error.context_mark else ""
    return f" {error.context}{begins}"


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [child for pair in node.value for child in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _check_aliases(root: yaml.Node) -> None:
    """Refuses cycles, and aliases that multiply or deepen the file beyond the limits."""
    # Post-order, by a stack of our own: chained aliases can be as deep as the file is long.
    size: dict[int, int] = {}
    height: dict[int, int] = {}
    finished: list[yaml.Node] = []
    under_way: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, complete = stack.pop()
        children = _children(node)
        if complete:
            under_way.remove(id(node))
            finished.append(node)
            size[id(node)] = 1 + sum(size[id(child)] for child in children)
            below = max((height[id(child)] for child in children), default=0)
            height[id(node)] = below + isinstance(node, yaml.CollectionNode)
            if height[id(node)] > MAX_DEPTH:
                raise InvalidYaml.at(node, f"is nested deeper than {MAX_DEPTH} levels with its aliases")
        elif id(node) in under_way:
            raise InvalidYaml.at(node, "contains itself through an alias")
        elif id(node) not in size:
            under_way.add(id(node))
            stack.append((node, True))
            stack.extend((child, False) for child in children)
    limit = MAX_EXPANSION * len(finished)
    if bomb := next((node for node in finished if size[id(node)] > limit), None):
        raise InvalidYaml.at(bomb, f"aliases expand the file to more than {MAX_EXPANSION} times its size")
