"""Settings from the file, the environment and the defaults; every mistake in them at once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import InitSettingsSource

from taskd.config.document import read
from taskd.config.environment import Variables, own_variables, seed_variables
from taskd.config.given import Given
from taskd.config.mistakes import explained
from taskd.config.models import Settings
from taskd.errors import ConfigError

_SYSTEM_FILE = Path("/etc/taskd/taskd.yaml")


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the file that `find` finds, under `TASKD_…` and the seed's names in `environ` and `.env`.

    Raises ConfigError, whose text has one line for each mistake.
    """
    return load_with_sources(path, environ)[0]


def load_with_sources(path: Path | None, environ: Mapping[str, str]) -> tuple[Settings, Sequence[Given]]:
    """As `load`, with what each source gives: the first that gives a key has won."""
    file = find(path, environ)
    variables = Variables(environ, file.absolute().parent if file else Path.cwd())
    own, seed = own_variables(variables), seed_variables(variables)
    document = read(file, variables) if file else Given()
    _give_way(seed, own, document)
    sources = (own, seed, document)  # the first that has a key gives its value
    errors = [*variables.errors, *(error for source in sources for error in source.errors)]
    try:
        trees = tuple(InitSettingsSource(Settings, source.tree) for source in sources)
        settings = Settings(_build_sources=(trees, {}))
    except ValidationError as error:
        errors += explained(error, sources, errors)
    if errors:
        raise ConfigError("\n".join(errors))
    return settings, sources


def find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """The file at `path`, else $TASKD_CONFIG, else ./taskd.yaml or /etc/taskd/taskd.yaml if there is one."""
    named = path or (Path(environ["TASKD_CONFIG"]) if environ.get("TASKD_CONFIG") else None)
    return named or next((file for file in (Path("taskd.yaml"), _SYSTEM_FILE) if file.is_file()), None)


def _give_way(seed: Given, own: Given, document: Given) -> None:
    """Take out of `seed` what doesn't count.

    As in the seed's check_env, production switches to RabbitMQ whatever CELERY_BROKER says. And an application
    of the user's own brings its broker.
    """
    environment, app = (
        next((value for source in (own, seed, document) if (value := source.get(at)) is not None), None)
        for at in (("environment",), ("celery", "app"))
    )
    if environment == "prod":
        seed.tree.get("broker", {}).pop("kind", None)
    if app:
        seed.tree.pop("broker", None)
