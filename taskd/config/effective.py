"""The settings in effect, key by key: each value as one writes it, without its secrets, and where it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo

from taskd.config.fields import is_duration
from taskd.config.given import Given, KeyPath, dotted
from taskd.config.loading import load_with_sources
from taskd.config.mistakes import keys_of
from taskd.config.models import Settings
from taskd.config.urls import masked
from taskd.redaction import MASK, redact
from taskd.schedule import duration

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Setting:
    """One key. `origin`: `default`, `file:line:column`, or the variable, with its .env file where it is from one.

    `means`: what a value of null comes to, where that follows from other settings.
    """

    key: str
    value: Any
    origin: str
    means: str | None = None


def effective(path: Path | None, environ: Mapping[str, str]) -> list[Setting]:
    """Every setting, in the order of taskd.yaml.example; raises ConfigError as `load` does."""
    settings, sources = load_with_sources(path, environ)
    return [
        Setting(dotted(at), _shown(settings, at), _origin(sources, at), _means(settings, at))
        for at in keys_of(Settings)
    ]


def written(value: Any, field: FieldInfo) -> Any:  # noqa: PLR0911  one line for each kind of value
    """A value of `field` as JSON, the way one would write it into taskd.yaml; a secret is masked."""
    match value:
        case SecretStr():
            secret = value.get_secret_value()
            return masked(secret) if "://" in secret else MASK
        case ByteSize():
            return value.human_readable().replace(".0", "")
        case int() if is_duration(field):
            return duration.shown(value)
        case None if is_duration(field):
            return "forever"
        case tuple():
            return [written(each, field) for each in value]
        case Path():
            return str(value)
        case BaseModel():
            fields = type(value).model_fields
            return {name: written(getattr(value, name), fields[name]) for name in fields}
        case str():
            return masked(value)
    return value


def field_at(at: KeyPath) -> FieldInfo:
    """The model's field for a key."""
    model: type[BaseModel] = Settings
    for section in at[:-1]:
        annotation = model.model_fields[str(section)].annotation
        assert isinstance(annotation, type)
        model = annotation
    return model.model_fields[str(at[-1])]


def _shown(settings: Settings, at: KeyPath) -> Any:
    value: Any = settings
    for key in at:
        value = getattr(value, str(key))
    if isinstance(value, dict):
        return _without_secrets(redact(value, settings.redact.keys))
    return written(value, field_at(at))


def _without_secrets(value: Any) -> Any:
    match value:
        case dict():
            return {key: _without_secrets(inner) for key, inner in value.items()}
        case list():
            return [_without_secrets(inner) for inner in value]
        case str():
            return masked(value)
    return value


def _origin(sources: Sequence[Given], at: KeyPath) -> str:
    return next((source.origin(at) or DEFAULT for source in sources if source.gives(at)), DEFAULT)


def _means(settings: Settings, at: KeyPath) -> str | None:
    match at:
        case ("database", "url") if settings.database.url is None:
            return masked(settings.database_url.get_secret_value())
        case ("broker", "kind") if settings.celery.app is None and settings.broker.kind is None:
            return settings.broker_kind
        case ("broker", "url") if settings.celery.app is None and settings.broker.url is None:
            return masked(settings.broker_url.get_secret_value())
    return None
