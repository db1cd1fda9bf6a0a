"""What the environment says: `TASKD_…`, the seed's own names, and an `.env` file with either."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import EnvSettingsSource

from taskd.config.expand import expand
from taskd.config.given import Given, KeyPath
from taskd.config.models import Settings
from taskd.errors import ConfigError

_PREFIX = "TASKD_"
_FOR_OTHERS = re.compile(
    r"TASKD_(CONFIG|URL|TOKEN|TEST_\w+)=.*"  # the command line's, and the tests'
    # Kubernetes' for services named taskd or taskd-…
    r"|TASKD_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*"
    r"|TASKD_(\w+_)?PORT=(tcp|udp|sctp)://.*",
    re.DOTALL,
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
    """What the `TASKD_…` variables give, known or not: the models judge it."""
    own = {name: value for name, value in variables.items() if _is_own(name, value)}
    given = Given(_Environment(own)())
    for name, value in own.items():
        path: KeyPath = tuple(name.removeprefix(_PREFIX).lower().split("__"))
        given.origins[path] = variables.origin(name)
        if path[0] not in Settings.model_fields:
            given.tree[str(path[0])] = value
            given.origins[path[:1]] = variables.origin(name)
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

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        super().__init__(Settings, case_sensitive=False, env_prefix=_PREFIX, env_nested_delimiter="__")

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return {name.lower(): value for name, value in self._values.items()}


def _is_own(name: str, value: str) -> bool:
    return name.startswith(_PREFIX) and ("__" in name or not _FOR_OTHERS.fullmatch(f"{name}={value}"))


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decoded(inner) for key, inner in value.items()}
    try:
        return json.loads(value)
    except ValueError:
        return value
