"""What must not leave the database in the clear: values under keys that sound like secrets."""

from collections.abc import Collection, Mapping
from typing import Any

MASK = "******"


def redact(value: Any, keys: Collection[str]) -> Any:
    """A copy of a JSON value in which everything under a key that contains one of `keys` is masked.

    `keys` are lower case; `DB_PASSWORD` is masked by `password`.
    """
    if isinstance(value, Mapping):
        return {name: MASK if _secret(name, keys) else redact(inner, keys) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(inner, keys) for inner in value]
    return value


def _secret(name: object, keys: Collection[str]) -> bool:
    lowered = str(name).lower()
    return any(key in lowered for key in keys)
