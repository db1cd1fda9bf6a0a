"""What the environment says: `TASKD_…`, the seed's own names, and an `.env` file with either."""

import json
import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import BaseModel
from pydantic_settings import EnvSettingsSource

from taskd.config.expand import expand
from taskd.config.given import Given, KeyPath
from taskd.config.models import Settings
from taskd.errors import ConfigError

_PREFIX = "TASKD_"
_FOR_OTHERS = re.compile(
    r"TASKD_(CONFIG|URL|TOKEN|TEST_.*"  # the command line's, and the tests'
    r"|(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\d+_.*)?))"  # Kubernetes' for a service named taskd-…
)

SEED: dict[str, KeyPath] = {
    "ENVIRONMENT": ("environment",),
    "CELERY_BROKER": ("broker", "kind"),
    "REDIS_HOST": ("broker", "redis", "host"),
    "REDIS_PORT": ("broker", "redis", "port"),
    "REDIS_PASSWORD": ("broker", "redis", "password"),
    "CELERY_BROKER_REDIS_DATABASE": ("broker", "redis", "database"),
    "CELERY_REDIS_PREFIX": ("broker", "redis", "prefix"),
    "CELERY_RABBITMQ_HOST": ("broker", "rabbitmq", "host"),
    "CELERY_RABBITMQ_PORT": ("broker", "rabbitmq", "port"),
    "CELERY_RABBITMQ_USERNAME": ("broker", "rabbitmq", "username"),
    "CELERY_RABBITMQ_PASSWORD": ("broker", "rabbitmq", "password"),
    "CELERY_RABBITMQ_VHOST": ("broker", "rabbitmq", "vhost"),
    "CELERY_TASK_MAX_RETRIES": ("celery", "task_max_retries"),
}


class Variables(dict[str, str]):
    """The process's environment over the `.env` in `folder`; `errors` has a sentence for each unusable entry."""

    def __init__(self, environ: Mapping[str, str], folder: Path) -> None:
        self._file = folder / ".env"
        beside = _dotenv(self._file)
        super().__init__({**beside, **environ})
        self._in_file = beside.keys() - environ.keys()
        self.errors: list[str] = []
        for name in sorted(self._in_file):
            if name in SEED or name.startswith(_PREFIX):
                self._expand(name, folder)

    def origin(self, name: str) -> str:
        """The variable as an error names it, with the file that it comes from."""
        return f"{self._file}: {name}" if name in self._in_file else name

    def _expand(self, name: str, folder: Path) -> None:
        try:
            self[name] = expand(self[name], self, folder)
        except ConfigError as error:
            self.errors.append(f"{self.origin(name)}: {error}")


def _dotenv(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        # without interpolation: python-dotenv's turns an unset variable into nothing, without a word
        return {name: value or "" for name, value in dotenv_values(file, interpolate=False).items()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't read {file}: {error}") from error


def own_variables(variables: Variables) -> Given:
    """What the `TASKD_…` variables give; what is wrong with a value is the models' to say."""
    own = [name for name in sorted(variables) if name.startswith(_PREFIX) and not _for_others(name)]
    paths: dict[KeyPath, str] = {tuple(name.removeprefix(_PREFIX).lower().split("__")): name for name in own}
    given = Given(
        _Environment({name.lower(): variables[name] for name in own})(),
        {path: variables.origin(name) for path, name in paths.items()},
        [
            f"{variables.origin(name)}: no such setting{_suggestion(name)}"
            for path, name in paths.items()
            if path[0] not in Settings.model_fields
        ],
    )
    if isinstance(conf := given.get(("celery", "conf")), dict):
        given.tree["celery"]["conf"] = _decoded(conf)  # any Celery setting: its type is in how it is written
    return given


def seed_variables(variables: Variables) -> Given:
    """What the seed's names give."""
    given = Given()
    for name, path in SEED.items():
        if name in variables:
            given.origins[path] = variables.origin(name)
            _put(given.tree, path, variables[name])
    return given


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    *sections, key = map(str, path)
    for section in sections:
        tree = tree.setdefault(section, {})
    tree[key] = value


class _Environment(EnvSettingsSource):
    """pydantic-settings' own reading of `TASKD_SECTION__KEY`, from given variables."""

    def __init__(self, values: Mapping[str, str | None]) -> None:
        self._values = values
        super().__init__(Settings, case_sensitive=False, env_prefix=_PREFIX, env_nested_delimiter="__")

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return self._values


def keys_of(model: type[BaseModel], above: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every key that can hold a value."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, (*above, name))
        else:
            yield (*above, name)


def _for_others(name: str) -> bool:
    return "__" not in name and _FOR_OTHERS.fullmatch(name) is not None


def _suggestion(name: str) -> str:
    variables = [_PREFIX + "__".join(map(str, at)).upper() for at in keys_of(Settings)]
    near = get_close_matches(name, variables, n=1)
    return f", did you mean {near[0]}?" if near else ""


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    try:
        return json.loads(value)
    except ValueError:
        return value
