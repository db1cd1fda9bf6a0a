"""Mistakes in the settings: where, which key, what to do; all at once, and without a secret."""

from hashlib import sha256
from pathlib import Path

import pytest

from taskd.config import Settings, load, masked
from taskd.errors import ConfigError

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory, on a machine without a system-wide file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("taskd.config.loading._SYSTEM_FILE", tmp_path / "etc.yaml")
    return tmp_path


def mistakes(text: str = "", environ: dict[str, str] | None = None) -> list[str]:
    """The sentences about a taskd.yaml in the current directory."""
    Path("taskd.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(None, environ or {})
    return str(caught.value).split("\n")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("brokr: {}", "taskd.yaml:1:1: brokr: unknown key, did you mean 'broker'?"),
        (
            "broker:\n  redis:\n    prot: 1",
            "taskd.yaml:3:5: broker.redis.prot: unknown key, did you mean 'port'?",
        ),
        ("lease: {xyz: 1}", "taskd.yaml:1:9: lease.xyz: unknown key; there are ttl"),
        ("_env_file: x", "taskd.yaml:1:1: _env_file: unknown key; there are environment, timezone"),
        ("environment: staging", "taskd.yaml:1:1: environment: should be 'dev' or 'prod'"),
        (
            "timezone: Europe/Berln",
            "taskd.yaml:1:1: timezone: unknown time zone 'Europe/Berln', did you mean",
        ),
        ("broker: {redis: {port: 70000}}", "broker.redis.port: should be less than or equal to 65535"),
        ("broker: {redis: {password: 12345}}", "broker.redis.password: should be text; put it in quotes"),
        ("broker: {url: 'sqs://x'}", "broker.url: should begin with amqp://"),
        ("database: {url: 'oracle://x'}", "database.url: should begin with postgresql://"),
        ("database: {url: 'sqlite://'}", "database.url: should begin with postgresql://"),
        ("schedules: {poll: 3 parsecs}", "schedules.poll: a duration is written like 30s"),
        ("lease: {ttl: 1s}", "lease.ttl: should be greater than or equal to 3"),
        ("results: {max_result_bytes: lots}", "results.max_result_bytes: could not parse"),
        ("celery: {task_serializer: pickle}", "celery.task_serializer: should be 'json' or 'msgpack'"),
        ("celery: {accept_content: [pickle]}", "celery.accept_content.0: should be 'json' or 'msgpack'"),
        (
            "celery: {accept_content: [json]}",
            "celery.accept_content: lacks msgpack, which the serializers write",
        ),
        (
            "celery: {app: 'a:b', imports: [c]}",
            "celery: imports belong in the app that celery.app names, not here",
        ),
        (
            "{celery: {app: 'a:b'}, broker: {kind: redis}}",
            "broker belongs in the app that celery.app names, not here",
        ),
        (
            "celery: {conf: {worker_concurency: 1}}",
            "celery.conf.worker_concurency: Celery has no such setting, did you mean 'worker_concurrency'?",
        ),
        (
            "celery: {conf: {broker_url: x}}",
            "celery.conf.broker_url: taskd answers for it; set broker.url instead",
        ),
        (
            "celery: {conf: {task_serializer: json}}",
            "task_serializer: taskd answers for it; set celery.task_serializer",
        ),
        (
            "http: {bind: '0.0.0.0:8470'}",
            "http.bind: 0.0.0.0 is not a loopback address: without http.tokens",
        ),
        ("http: {bind: 'example.com:80'}", "example.com is not a loopback address"),
        ("http: {bind: '8470'}", "http.bind: should be host:port"),
        (
            "http: {tokens: [{name: ci, scopes: [read], sah256: x}]}",
            "http.tokens.0.sah256: unknown key, did you mean 'sha256'?",
        ),
        (
            f"http: {{tokens: [{{name: ci, scopes: [raed], sha256: {'a' * 64}}}]}}",
            "http.tokens.0.scopes.0: should be 'read', 'control', 'admin' or 'metrics'",
        ),
        (
            "http: {tokens: [{name: ci, scopes: [], env: X}]}",
            "http.tokens.0.scopes: should name what the token is for",
        ),
        ("http: {tokens: [{name: a b, scopes: [read], env: X}]}", "http.tokens.0.name: should be a name of"),
        (
            "http: {tokens: [{name: taskd, scopes: [read], env: X}]}",
            "taskd is taskd's own name in the history",
        ),
        ("http: {tokens: [{name: ci, scopes: [read]}]}", "is one of sha256, env or file; it has 0"),
        ("http: {tokens: [{name: ci, scopes: [read], env: X, file: y}]}", "env or file; it has 2"),
        (
            "http: {tokens: [{name: ci, scopes: [read], sha256: hunter2}]}",
            "the SHA-256 of the secret, 64 hex digits",
        ),
        (
            f"http: {{tokens: [{{name: ci, scopes: [read], sha256: {sha256().hexdigest()}}}]}}",
            "is the SHA-256 of nothing",
        ),
        (
            "http: {tokens: [{name: ci, scopes: [read], env: X}, {name: ci, scopes: [control], env: Y}]}",
            "http.tokens: ci is given twice",
        ),
        ("logging: {level: LOUD}", "logging.level: should be 'DEBUG', 'INFO'"),
        ("timezone: UTC\ntimezone: UTC", "taskd.yaml:1:1: timezone: given again at taskd.yaml:2:1"),
        ("? [a]\n: b", "taskd.yaml:1:3: ?: unknown key"),
        ("timezone: !x UTC", "taskd.yaml:1:1: timezone: the tag !x isn't supported"),
        (
            "celery: {conf: {task_routes: !!python/name:os.system }}",
            "the tag tag:yaml.org,2002:python/name:os.system",
        ),
        ("a: &a 1\nb: *a", "taskd.yaml:2:4: aliases aren't supported here"),
        ("- a", "taskd.yaml: settings are a mapping"),
        ("a: [", "taskd.yaml:1:5: expected the node content, but found '<stream end>'"),
        ("a: \0", "can't read taskd.yaml: special characters are not allowed at character 3"),
        ("broker:", "broker: should be a mapping of keys"),
    ],
)
def test_a_mistake_is_one_sentence_with_its_place(text: str, sentence: str) -> None:
    found = mistakes(text)
    assert len(found) == 1
    assert sentence in found[0]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "TASKD_BROKER__REDIS__PORT",
            "x",
            "TASKD_BROKER__REDIS__PORT: broker.redis.port: should be a valid integer",
        ),
        ("TASKD_BROKER__PROT", "x", "TASKD_BROKER__PROT: broker.prot: unknown key"),
        ("TASKD_BROKER_URL", "x", "TASKD_BROKER_URL: broker_url: unknown key, did you mean 'broker.url'?"),
        ("TASKD_HTTP__TOKENS", "x", "TASKD_HTTP__TOKENS: http.tokens.0: should be a mapping of keys"),
        (
            "TASKD_REDIS_PORT",
            "6380",
            "TASKD_REDIS_PORT: redis_port: unknown key, did you mean 'broker.redis.port'?",
        ),
        ("TASKD_BROKER", "redis", "TASKD_BROKER: broker: should be a mapping of keys"),
        ("TASKD_HTTP__ALLOWED_HOSTS", "{}", "http.allowed_hosts: should be a list"),
        (
            "TASKD_METRICS__SCHEDULE_LABEL",
            "a",
            "TASKD_METRICS__SCHEDULE_LABEL: metrics.schedule_label: should be a valid boolean",
        ),
        ("TASKD_SCHEDULES__PATHS", "[1", "TASKD_SCHEDULES__PATHS: schedules.paths: is neither JSON nor a,b"),
        ("TASKD_CELERY__CONF", "1", "TASKD_CELERY__CONF: celery.conf: should be a mapping of keys"),
        ("REDIS_PORT", "tcp://10.0.0.1:6379", "REDIS_PORT: broker.redis.port: should be a valid integer"),
        ("ENVIRONMENT", "production", "ENVIRONMENT: environment: should be 'dev' or 'prod'"),
    ],
)
def test_a_variable_is_named(name: str, value: str, sentence: str) -> None:
    assert [sentence in found for found in mistakes("", {name: value})] == [True]


def test_a_variable_of_the_env_file_is_named_with_the_file(folder: Path) -> None:
    (folder / ".env").write_text("REDIS_PORT=x\n")
    assert mistakes()[0].startswith(f"{folder}/.env: REDIS_PORT: broker.redis.port: should be")


def test_all_mistakes_of_all_sources_are_told_at_once(folder: Path) -> None:
    (folder / ".env").write_text("REDIS_HOST=${NOWHERE}\n")
    found = mistakes(
        'timezone: Mars/Base\nstate_dir: "${NOPE}"\nhttp: {bnid: x}\nmetrics: {schedule_label: a}',
        {"TASKD_LEASE__TTL": "never", "TASKD_NONSENSE": "1"},
    )
    about = (
        "REDIS_HOST",
        "state_dir",
        "timezone",
        "http.bnid",
        "TASKD_LEASE__TTL",
        "metrics",
        "TASKD_NONSENSE",
    )
    assert len(found) == len(about)
    assert all(key in sentence for key, sentence in zip(about, found, strict=True))


# ${…}


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("${HOST}", "h"),
        ("a-${HOST}-${HOST}", "a-h-h"),
        ("${NONE:-d}", "d"),
        ("${NONE:-}x", "x"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}x", "x"),
        ("$${HOST}", "${HOST}"),
        ("$HOST", "$HOST"),
        ("${TWICE}", "${HOST}"),
        ("${file:secret}", "from a file"),
        ("${NONE:-a:-b}", "a:-b"),
    ],
)
def test_references_expand_once_in_values(folder: Path, written: str, read: str) -> None:
    (folder / "secret").write_text("from a file\n")
    (folder / "taskd.yaml").write_text(f'broker: {{redis: {{host: "{written}"}}}}')
    settings = load(None, {"HOST": "h", "EMPTY": "", "TWICE": "${HOST}"})
    assert settings.broker.redis.host == read


def test_an_expanded_value_stays_text_and_a_number_is_read_where_one_is_wanted(folder: Path) -> None:
    (folder / "taskd.yaml").write_text("broker: {redis: {password: $P, port: 1}}".replace("$P", "'${P}'"))
    settings = load(None, {"P": "0123"})
    assert settings.broker.redis.password is not None
    assert settings.broker.redis.password.get_secret_value() == "0123"


def test_the_env_file_serves_references_and_may_hold_them(folder: Path) -> None:
    (folder / ".env").write_text("BASE=base\nREDIS_HOST=${BASE}.example\n")
    (folder / "taskd.yaml").write_text("broker: {rabbitmq: {host: '${BASE}'}}")
    broker = load(None, {}).broker
    assert (broker.redis.host, broker.rabbitmq.host) == ("base.example", "base")


def test_the_process_is_taken_at_its_word() -> None:
    assert load(None, {"REDIS_PASSWORD": "${x"}).broker.redis.url() == "redis://:%24%7Bx@127.0.0.1:6379/1"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("${NOPE}", "the variable NOPE is not set; set it, or write ${NOPE:-default}"),
        ("${", "'${' is never closed"),
        ("${a b}", "is not ${VAR}, ${VAR:-default} or ${file:/path}"),
        ("${}", "is not ${VAR}"),
        ("${file:/no/such/file}", "can't read /no/such/file: No such file or directory"),
        ("${file:/}", "can't read /: Is a directory"),
    ],
)
def test_a_reference_that_leads_nowhere_names_its_key(written: str, reason: str) -> None:
    found = mistakes(f"broker:\n  redis:\n    port: '{written}'")
    assert found == [f"taskd.yaml:3:5: broker.redis.port: {reason}"] or reason in found[0]
    assert len(found) == 1


def test_keys_do_not_expand() -> None:
    assert mistakes("'${HOME}': 1", {"HOME": "lease"})[0].startswith("taskd.yaml:1:1: ${HOME}: unknown key")


# Secrets


def test_no_secret_shows(folder: Path) -> None:
    (folder / "taskd.yaml").write_text(
        f"""\
database: {{url: "postgresql://u:{SECRET}@h/d"}}
broker:
  url: "redis://:{SECRET}@h/1"
  redis: {{password: {SECRET}}}
  rabbitmq: {{password: {SECRET}}}
celery:
  result_backend: "redis://:{SECRET}@h/2"
  conf: {{redis_password: {SECRET}}}
"""
    )
    settings = load(None, {})
    shown = [
        repr(settings),
        str(settings),
        f"{settings.broker_url} {settings.database_url!r}",
        f"{settings.broker!r}",
    ]
    assert not any(SECRET in text for text in shown)
    assert settings.broker_url.get_secret_value() == f"redis://:{SECRET}@h/1"


@pytest.mark.parametrize(
    "text",
    [
        f"database: {{url: 'oracle://u:{SECRET}@h/d'}}",
        f"database: {{url: 'postgresql+asyncpg://u:{SECRET}@h/d'}}",
        f"broker: {{url: 'sqs://u:{SECRET}@h'}}",
        f"broker: {{kind: redis, url: 'amqp://u:{SECRET}@h'}}",
        f"broker: {{redis: {{password: [{SECRET}]}}}}",
        f"broker: {{redis: {SECRET}}}",
        f"celery: {{conf: {{broker_password: {SECRET}}}}}",
        f"celery: {{result_backend: {{url: {SECRET}}}}}",
    ],
)
def test_no_mistake_tells_a_secret(text: str) -> None:
    assert SECRET not in "\n".join(mistakes(text))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:p@h:1/2", "redis://:**@h:1/2"),
        ("cannot reach amqp://u:p/@ss@h//: refused", "cannot reach amqp://u:**@h//: refused"),
        ("postgresql://h/d?user=u&password=p&x=1", "postgresql://h/d?user=u&password=**&x=1"),
        ("redis://127.0.0.1:6379/1", "redis://127.0.0.1:6379/1"),
        ("mail a@example.com", "mail a@example.com"),
    ],
)
def test_urls_are_shown_without_their_passwords(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_mistake_in_arguments_does_not_show_them() -> None:
    with pytest.raises(ValueError) as caught:
        Settings(broker={"redis": {"password": [SECRET]}})
    assert SECRET not in str(caught.value)
