"""Settings: where they come from, which one wins, what is derived."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from taskd.config import Settings, load
from taskd.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, on a machine without a system-wide file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("taskd.config.loading._SYSTEM_FILE", tmp_path / "etc.yaml")
    return tmp_path


def configured(
    text: str = "", environ: Mapping[str, str] | None = None, dotenv: str | None = None
) -> Settings:
    """Settings of a taskd.yaml and an .env in the current directory."""
    Path("taskd.yaml").write_text(text)
    if dotenv is not None:
        Path(".env").write_text(dotenv)
    return load(None, environ or {})


def value_at(settings: Settings, key: str) -> Any:
    value: Any = settings
    for part in key.split("."):
        value = getattr(value, part)
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


# Which source wins


@pytest.mark.parametrize("given", range(5))
def test_the_higher_source_wins(given: int) -> None:
    """Default < file < the seed's name in .env < TASKD_ in .env; the process's own variable beats each in .env."""
    file = "broker: {redis: {port: 1}}" if given >= 1 else ""
    dotenv = "REDIS_PORT=2\n" if given >= 2 else ""
    environ = {"REDIS_PORT": "3"} if given >= 3 else {}
    dotenv += "TASKD_BROKER__REDIS__PORT=4\n" if given >= 4 else ""
    assert configured(file, environ, dotenv).broker.redis.port == [6379, 1, 2, 3, 4][given]


def test_the_process_beats_the_env_file() -> None:
    settings = configured("", {"TASKD_BROKER__REDIS__PORT": "5"}, "TASKD_BROKER__REDIS__PORT=4")
    assert settings.broker.redis.port == 5


def test_a_section_is_put_together_from_all_sources() -> None:
    settings = configured(
        "broker: {redis: {host: a, port: 1}}", {"REDIS_PORT": "2", "TASKD_BROKER__KIND": "redis"}
    )
    assert (settings.broker.kind, settings.broker.redis.host, settings.broker.redis.port) == ("redis", "a", 2)


SEED = {
    "ENVIRONMENT": ("prod", "environment", "prod"),
    "CELERY_BROKER": ("redis", "broker.kind", "redis"),
    "REDIS_HOST": ("r", "broker.redis.host", "r"),
    "REDIS_PORT": ("1234", "broker.redis.port", 1234),
    "REDIS_PASSWORD": ("p", "broker.redis.password", "p"),
    "CELERY_BROKER_REDIS_DATABASE": ("7", "broker.redis.database", 7),
    "CELERY_REDIS_PREFIX": ("fba:celery", "broker.redis.prefix", "fba:celery"),
    "CELERY_RABBITMQ_HOST": ("q", "broker.rabbitmq.host", "q"),
    "CELERY_RABBITMQ_PORT": ("1235", "broker.rabbitmq.port", 1235),
    "CELERY_RABBITMQ_USERNAME": ("u", "broker.rabbitmq.username", "u"),
    "CELERY_RABBITMQ_PASSWORD": ("p", "broker.rabbitmq.password", "p"),
    "CELERY_RABBITMQ_VHOST": ("v", "broker.rabbitmq.vhost", "v"),
    "CELERY_TASK_MAX_RETRIES": ("9", "celery.task_max_retries", 9),
}


@pytest.mark.parametrize("name", SEED)
def test_the_names_of_the_seed_work(name: str) -> None:
    written, key, value = SEED[name]
    assert value_at(configured("", {name: written}), key) == value


def test_the_env_file_of_the_seed_works_as_it_is() -> None:
    settings = configured(
        dotenv="""\
# Celery Broker（消息队列）
CELERY_BROKER='redis'                      # 开发环境：redis，生产环境：rabbitmq
CELERY_BROKER_REDIS_DATABASE=1
REDIS_HOST='127.0.0.1'
REDIS_PORT=6379
REDIS_PASSWORD=''
CELERY_RABBITMQ_HOST='127.0.0.1'
CELERY_RABBITMQ_PORT=5672
CELERY_RABBITMQ_USERNAME='guest'
CELERY_RABBITMQ_PASSWORD='guest'
CELERY_RABBITMQ_VHOST=''
CELERY_REDIS_PREFIX='fba:celery'
CELERY_TASK_MAX_RETRIES=5                  # 任务最大重试次数
DATABASE_PASSWORD='${what taskd does not read, it does not judge'
"""
    )
    assert settings.broker_url.get_secret_value() == "redis://127.0.0.1:6379/1"
    assert settings.broker.redis.prefix == "fba:celery"
    assert settings.broker.rabbitmq.url() == "amqp://guest:guest@127.0.0.1:5672/%2F"


@pytest.mark.parametrize(
    ("name", "written", "key", "value"),
    [
        ("TASKD_SCHEDULES__POLL", "90", "schedules.poll", 90),
        (
            "TASKD_HTTP__ALLOWED_HOSTS",
            "a.example, b.example",
            "http.allowed_hosts",
            ("a.example", "b.example"),
        ),
        ("TASKD_HTTP__ALLOWED_HOSTS", '["a.example"]', "http.allowed_hosts", ("a.example",)),
        ("TASKD_HTTP__ALLOWED_HOSTS", "", "http.allowed_hosts", ()),
        ("TASKD_CELERY__ENABLE_UTC", "true", "celery.enable_utc", True),
        ("TASKD_BROKER__KIND", "", "broker.kind", None),
        ("TASKD_CELERY__CONF", '{"worker_concurrency": 2}', "celery.conf", {"worker_concurrency": 2}),
        ("TASKD_CELERY__CONF__WORKER_CONCURRENCY", "2", "celery.conf", {"worker_concurrency": 2}),
        ("TASKD_CELERY__CONF__TASK_DEFAULT_QUEUE", "q", "celery.conf", {"task_default_queue": "q"}),
        (
            "TASKD_CELERY__CONF__BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT",
            "60",
            "celery.conf",
            {"broker_transport_options": {"visibility_timeout": 60}},
        ),
    ],
)
def test_a_variable_holds_any_kind_of_value(name: str, written: str, key: str, value: object) -> None:
    assert value_at(configured("", {name: written}), key) == value


def test_what_others_put_into_the_environment_is_left_alone() -> None:
    kubernetes = {
        "TASKD_PORT": "tcp://10.0.0.1:8470",
        "TASKD_SERVICE_HOST": "10.0.0.1",
        "TASKD_SERVICE_PORT_HTTP": "8470",
        "TASKD_API_PORT_80_TCP": "tcp://10.0.0.1:80",
        "TASKD_API_PORT_80_TCP_PORT": "80",
    }
    command_line = {"TASKD_URL": "http://127.0.0.1:8470", "TASKD_TOKEN": "t", "TASKD_CONFIG": ""}
    assert configured("", kubernetes | command_line) == configured()


def test_built_directly_settings_read_nothing_but_their_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "prod")
    monkeypatch.setenv("TIMEZONE", "UTC")
    assert Settings() == load(None, {})


# Where the file is


def test_the_named_file_comes_first_then_the_variable_then_the_current_directory(folder: Path) -> None:
    for name, zone in (("a", "Asia/Tokyo"), ("b", "Asia/Seoul"), ("taskd", "Asia/Manila")):
        (folder / f"{name}.yaml").write_text(f"timezone: {zone}")
    variable = {"TASKD_CONFIG": str(folder / "b.yaml")}
    assert load(folder / "a.yaml", variable).timezone == "Asia/Tokyo"
    assert load(None, variable).timezone == "Asia/Seoul"
    assert load(None, {}).timezone == "Asia/Manila"


def test_the_system_file_is_the_last_to_be_asked(folder: Path) -> None:
    (folder / "etc.yaml").write_text("timezone: Asia/Tokyo")
    assert load(None, {}).timezone == "Asia/Tokyo"
    assert configured("timezone: UTC").timezone == "UTC"


@pytest.mark.parametrize("how", ["option", "variable"])
def test_a_named_file_must_be_there(how: str) -> None:
    named = (Path("no.yaml"), {}) if how == "option" else (None, {"TASKD_CONFIG": "no.yaml"})
    with pytest.raises(ConfigError, match=r"can't read no\.yaml: No such file or directory"):
        load(*named)


def test_without_a_file_the_defaults_serve(folder: Path) -> None:
    settings = load(None, {})
    assert settings.state_dir == folder / ".taskd"
    assert settings.schedules.paths == (folder / "schedules",)
    assert settings.socket_path == folder / ".taskd/taskd.sock"
    assert settings.database_url.get_secret_value() == f"sqlite:///{folder}/.taskd/taskd.db"
    assert settings.broker_url.get_secret_value() == f"files://{folder}/.taskd/broker"


def test_an_empty_file_is_no_mistake() -> None:
    assert configured("# nothing yet\n") == Settings()


def test_paths_in_a_file_are_relative_to_it(folder: Path) -> None:
    (folder / "etc").mkdir()
    file = folder / "etc/t.yaml"
    file.write_text(
        """\
state_dir: state
schedules: {paths: [here, ../there, /abs]}
database: {url: "sqlite:///x.db"}
http: {bind: "unix:http.sock"}
"""
    )
    settings = load(Path("etc/t.yaml"), {})
    assert settings.state_dir == folder / "etc/state"
    assert settings.schedules.paths == (folder / "etc/here", folder / "etc/../there", Path("/abs"))
    assert settings.database_url.get_secret_value() == f"sqlite:///{folder}/etc/x.db"
    assert settings.http.address == folder / "etc/http.sock"


def test_paths_in_the_environment_are_relative_to_the_current_directory(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "etc/t.yaml").write_text("state_dir: state")
    settings = load(Path("etc/t.yaml"), {"TASKD_STATE_DIR": "s", "TASKD_SCHEDULES__PATHS": "a,b"})
    assert (settings.state_dir, settings.schedules.paths) == (folder / "s", (folder / "a", folder / "b"))


# Brokers and databases


@pytest.mark.parametrize(
    ("file", "kind", "url"),
    [
        ("environment: prod", "rabbitmq", "amqp://guest:guest@127.0.0.1:5672/%2F"),
        ("broker: {kind: redis}", "redis", "redis://127.0.0.1:6379/1"),
        ("broker: {kind: redis, redis: {password: 'p@/:'}}", "redis", "redis://:p%40%2F%3A@127.0.0.1:6379/1"),
        ("broker: {kind: redis, redis: {host: '::1', database: 0}}", "redis", "redis://[::1]:6379/0"),
        (
            "broker: {kind: rabbitmq, rabbitmq: {username: 'a b'}}",
            "rabbitmq",
            "amqp://a%20b:guest@127.0.0.1:5672/%2F",
        ),
        ("broker: {url: 'rediss://r/2', redis: {host: unused}}", "redis", "rediss://r/2"),
        ("broker: {url: 'redis+socket:///run/r.sock'}", "redis", "redis+socket:///run/r.sock"),
        ("broker: {url: 'amqp://h//', kind: rabbitmq}", "rabbitmq", "amqp://h//"),
        ("{environment: prod, broker: {url: 'redis://r'}}", "redis", "redis://r"),
    ],
)
def test_the_broker_is_resolved(file: str, kind: str, url: str) -> None:
    settings = configured(file)
    assert (settings.broker_kind, settings.broker_url.get_secret_value()) == (kind, url)


@pytest.mark.parametrize("where", ["file", "environ", "own"])
def test_production_switches_the_seeds_broker_to_rabbitmq(where: str) -> None:
    file = "environment: prod" if where == "file" else ""
    environ = {"environ": {"ENVIRONMENT": "prod"}, "own": {"TASKD_ENVIRONMENT": "prod"}}.get(where, {})
    assert configured(file, {"CELERY_BROKER": "redis"} | environ).broker_kind == "rabbitmq"


@pytest.mark.parametrize("kind", ["files", "redis"])
def test_production_refuses_another_broker_that_taskds_own_setting_names(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"broker\.kind: production runs on rabbitmq, not {kind}"):
        configured(f"{{environment: prod, broker: {{kind: {kind}}}}}")


def test_an_url_that_contradicts_the_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match="kind is redis, but url is for rabbitmq"):
        configured("broker: {kind: redis, url: 'amqp://h'}")


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("postgresql://u:p@h/d", "postgresql+psycopg://u:p@h/d"),
        ("postgres://h/d", "postgresql+psycopg://h/d"),
        ("postgresql+psycopg://h/d?sslmode=require", "postgresql+psycopg://h/d?sslmode=require"),
        ("mysql://h/d", "mysql+pymysql://h/d"),
        ("mariadb://h/d", "mariadb+pymysql://h/d"),
        ("sqlite:////var/lib/t.db", "sqlite:////var/lib/t.db"),
    ],
)
def test_a_plain_database_url_gets_its_driver(given: str, used: str) -> None:
    assert configured(f"database: {{url: '{given}'}}").database_url.get_secret_value() == used


@pytest.mark.parametrize(("scheme", "extra"), [("postgresql", "postgresql"), ("mysql", "mariadb")])
def test_a_missing_driver_names_the_extra_to_install(
    scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskd.config.urls.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"pip install 'taskd\[{extra}\]'"):
        configured(f"database: {{url: '{scheme}://h/d'}}")


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:8470", ("127.0.0.1", 8470)),
        ("[::1]:80", ("::1", 80)),
        ("localhost:0", ("localhost", 0)),
        ("unix:/run/t.sock", Path("/run/t.sock")),
    ],
)
def test_http_listens_on_this_machine(bind: str, address: object) -> None:
    assert configured(f"http: {{bind: '{bind}'}}").http.address == address


# Values


def test_durations_and_sizes_are_seconds_and_bytes() -> None:
    settings = configured(
        "{lease: {ttl: 1m}, schedules: {poll: 3}, celery: {task_time_limit: PT2H}, results: {max_result_bytes: 2MiB}}"
    )
    assert (settings.lease.ttl, settings.schedules.poll, settings.celery.task_time_limit) == (60, 3, 7200)
    assert settings.results.max_result_bytes == 2 * 1024**2


def test_words_and_numbers_of_older_yaml_are_text() -> None:
    settings = configured(
        "{broker: {redis: {password: 007, host: 12:30, prefix: on}}, celery: {enable_utc: on}}"
    )
    assert value_at(settings, "broker.redis.password") == "007"
    assert (settings.broker.redis.host, settings.broker.redis.prefix) == ("12:30", "on")
    assert settings.celery.enable_utc is True


def test_settings_do_not_change() -> None:
    settings = Settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.timezone = "UTC"
    with pytest.raises(ValidationError, match="frozen"):
        settings.lease.ttl = 1


# What is kept


@pytest.mark.parametrize(("text", "keep"), [("30d", 30 * 86_400), ("forever", None)])
def test_events_are_kept_for_a_time_or_for_ever(text: str, keep: int | None) -> None:
    assert configured(f"events: {{keep: {text}}}").events.keep == keep
    assert configured("", {"TASKD_EVENTS__KEEP": text}).events.keep == keep


def test_a_time_to_keep_events_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"events\.keep: a duration is written like"):
        configured("events: {keep: always}")
