"""The types that settings are of: how what is written in a file or a variable becomes a value."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic.fields import FieldInfo

from taskd.schedule.duration import seconds_of


def _seconds(value: Any) -> int:
    return seconds_of(int(value) if isinstance(value, str) and value.isdecimal() else value)


def _kept(value: Any) -> int | None:
    return None if value in (None, "forever") else _seconds(value)


def _parsed(value: Any) -> Any:
    """JSON in a text, as an environment variable holds it; for a list, `a,b` will do."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith(("[", "{")):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("is neither JSON nor a,b") from None
    return [part.strip() for part in value.split(",") if part.strip()]


def checked(check: Callable[[str], object]) -> AfterValidator:
    """A text that `check` doesn't refuse with a ValueError."""

    def unrefused(value: Any) -> Any:
        if value is not None:
            check(value.get_secret_value() if isinstance(value, SecretStr) else value)
        return value

    return AfterValidator(unrefused)


# never pickle or yaml: who can write to the broker could run anything
Serializer = Literal["json", "msgpack"]
NullIfEmpty = BeforeValidator(lambda value: None if value == "" else value)
Parsed = BeforeValidator(_parsed)
Secret = Annotated[SecretStr | None, NullIfEmpty]
Seconds = Annotated[int, BeforeValidator(_seconds)]
Kept = Annotated[int | None, BeforeValidator(_kept)]
Folder = Annotated[Path, AfterValidator(Path.absolute)]
Port = Annotated[int, Field(ge=1, le=65535)]


def is_duration(field: FieldInfo) -> bool:
    """Whether a field's whole number is of seconds, and written as `1h30m`."""
    return any(
        isinstance(rule, BeforeValidator) and rule.func in {_seconds, _kept} for rule in field.metadata
    )
