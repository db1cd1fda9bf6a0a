"""What one source of settings gives: a tree of values, and where each of them stands."""

from dataclasses import dataclass, field
from typing import Any

KeyPath = tuple[str | int, ...]


@dataclass
class Given:
    """`tree`: the values. `origins`: key path → the variable or `file:line:column`. `errors`: what can't be used."""

    tree: dict[str, Any] = field(default_factory=dict)
    origins: dict[KeyPath, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def get(self, at: KeyPath) -> Any:
        """The value at `at`, or None."""
        value: Any = self.tree
        for key in at:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def gives(self, at: KeyPath) -> bool:
        """Whether there is a value at `at`, be it null."""
        *sections, key = at
        inner = self.get(tuple(sections)) if sections else self.tree
        return isinstance(inner, dict) and key in inner

    def origin(self, at: KeyPath) -> str | None:
        """Where the value at `at` stands, or the closest one around it."""
        around = (at[:length] for length in range(len(at), 0, -1))
        return next((self.origins[path] for path in around if path in self.origins), None)


def dotted(at: KeyPath) -> str:
    """A key path as people write it: `broker.redis.port`."""
    return ".".join(map(str, at))
