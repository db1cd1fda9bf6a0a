"""The settings, typed: one frozen model a section of taskd.yaml, with its defaults and rules."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from taskd.config.celery_conf import checked_key
from taskd.config.fields import Folder, Kept, NullIfEmpty, Parsed, Port, Seconds, Secret, Serializer, checked
from taskd.config.section import Section, Text
from taskd.config.tokens import Token, named_once
from taskd.config.urls import Address, BrokerKind, address_of, broker_kind_of, check_local, sqlalchemy_url
from taskd.schedule.zones import zone


class PruneGuard(Section):
    """A pass that would delete more schedules than `min`, and than `percent` of them, waits for an approval."""

    min: Annotated[int, Field(ge=0)] = 3
    percent: Annotated[int, Field(ge=0, le=100)] = 20


class Schedules(Section):
    """Where schedules are declared; `poll` in seconds."""

    paths: Annotated[tuple[Folder, ...], Parsed] = (Path("schedules"),)
    poll: Seconds = 10
    prune_guard: PruneGuard = Field(default_factory=PruneGuard)


class Database(Section):
    """`url: null` is SQLite in `state_dir`; see Settings.database_url."""

    url: Annotated[Secret, checked(sqlalchemy_url)] = None
    pool_size: Annotated[int, Field(ge=1)] = 5


class Redis(Section):
    """The parts of a Redis broker's URL; `prefix` stands in front of every key, as it is written."""

    host: Text = "127.0.0.1"
    port: Port = 6379
    database: Annotated[int, Field(ge=0)] = 1
    password: Secret = None
    prefix: str = "taskd:celery"

    def url(self) -> str:
        """`redis://…`, password included."""
        secret = f":{_quoted(self.password.get_secret_value())}@" if self.password else ""
        return f"redis://{secret}{_bracketed(self.host)}:{self.port}/{self.database}"


class RabbitMQ(Section):
    """The parts of a RabbitMQ broker's URL; an empty `vhost` is `/`, as in the seed."""

    host: Text = "127.0.0.1"
    port: Port = 5672
    username: Text = "guest"
    password: SecretStr = SecretStr("guest")
    vhost: Annotated[str, AfterValidator(lambda vhost: vhost or "/")] = "/"

    def url(self) -> str:
        """`amqp://…`, password included."""
        user = f"{_quoted(self.username)}:{_quoted(self.password.get_secret_value())}"
        return f"amqp://{user}@{_bracketed(self.host)}:{self.port}/{_quoted(self.vhost)}"


class Broker(Section):
    """`kind: null` is files in dev, rabbitmq in prod; `url` wins over the parts. See Settings.broker_url."""

    kind: Annotated[BrokerKind | None, NullIfEmpty] = None
    url: Annotated[Secret, checked(broker_kind_of)] = None
    redis: Redis = Field(default_factory=Redis)
    rabbitmq: RabbitMQ = Field(default_factory=RabbitMQ)

    @model_validator(mode="after")
    def _url_and_kind_agree(self) -> Self:
        named = broker_kind_of(self.url.get_secret_value()) if self.url else self.kind
        if self.kind not in {None, named}:
            raise ValueError(f"kind is {self.kind}, but url is for {named}; remove one of them")
        return self


class Celery(Section):
    """Celery's own settings; `task_time_limit` in seconds.

    With `app`, all of it but `task_max_retries` (BaseTask's) is that app's to say.
    """

    app: Annotated[str | None, NullIfEmpty] = None
    imports: Annotated[tuple[Text, ...], Parsed] = ("taskd.tasks",)
    result_backend: Secret = None
    task_serializer: Serializer = "msgpack"
    result_serializer: Serializer = "msgpack"
    accept_content: Annotated[tuple[Serializer, ...], Parsed] = ("msgpack", "json")
    enable_utc: bool = False
    task_track_started: bool = True
    task_time_limit: Seconds = 30 * 60
    task_max_retries: Annotated[int, Field(ge=0)] = 5
    conf: Annotated[dict[Annotated[str, AfterValidator(checked_key)], Any], Parsed] = Field(
        default={}, repr=False
    )

    @model_validator(mode="after")
    def _app_configures_itself(self) -> Self:
        if self.app and (others := self.model_fields_set - {"app", "task_max_retries"}):
            raise ValueError(f"{', '.join(sorted(others))} belong in the app that celery.app names, not here")
        return self

    @field_validator("accept_content")
    @classmethod
    def _what_is_written_is_accepted(cls, accepted: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        written = {info.data[key] for key in ("task_serializer", "result_serializer") if key in info.data}
        if missing := written.difference(accepted):
            raise ValueError(f"lacks {', '.join(sorted(missing))}, which the serializers write")
        return accepted


class Http(Section):
    """`bind` is host:port or unix:/path; without `tokens`, on this machine only."""

    tokens: Annotated[tuple[Token, ...], Parsed, AfterValidator(named_once)] = ()
    bind: Annotated[str, checked(address_of)] = "127.0.0.1:8470"
    allowed_hosts: Annotated[tuple[Text, ...], Parsed] = ()

    @field_validator("bind")
    @classmethod
    def _without_tokens_it_is_local(cls, bind: str, info: ValidationInfo) -> str:
        if info.data.get("tokens") == ():
            check_local(bind)
        return bind

    @property
    def address(self) -> Address:
        """`bind` as a socket's path or as (host, port)."""
        return address_of(self.bind)


class Lease(Section):
    """`ttl` in seconds: a leader that hasn't been seen for so long is replaced."""

    ttl: Annotated[Seconds, Field(ge=3)] = 10


class Results(Section):
    """What is kept of a run, sizes in bytes; `claim`: whether a run may start while the database is away.

    `keep`, and `keep_failed` for FAILURE and LOST, in seconds since a run's end, or None for ever: older ones are
    deleted by the daemon that leads.
    """

    keep: Kept = None
    keep_failed: Kept = None
    claim: Literal["available", "strict"] = "available"
    max_result_bytes: ByteSize = ByteSize(64 * 1024)
    log_bytes: Annotated[ByteSize, Field(le=2**20)] = ByteSize(16 * 1024)


class Events(Section):
    """`keep` in seconds, or None for ever: older events are deleted by the daemon that leads."""

    keep: Kept = 90 * 86_400


class RunCommand(Section):
    """`allow`: the programs that `taskd.tasks.run_command` may start, by name or by path; none by default."""

    allow: Annotated[tuple[Text, ...], Parsed] = ()


class Tasks(Section):
    """What the tasks that ship may do."""

    run_command: RunCommand = Field(default_factory=RunCommand)


class Redact(Section):
    """Keys, in lower case, whose values are hidden wherever arguments, results and logs leave the database."""

    keys: Annotated[tuple[Annotated[Text, AfterValidator(str.lower)], ...], Parsed] = (
        "password",
        "passwd",
        "secret",
        "token",
        "authorization",
        "api_key",
    )


class Logging(Section):
    """How taskd logs."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    format: Literal["text", "json"] = "text"


class Metrics(Section):
    """What Prometheus is told; without `schedule_label`, of all schedules together."""

    schedule_label: bool = True


class Settings(BaseSettings):
    """All settings, complete and checked. Built by `load`; built directly, from its arguments alone."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        validate_default=True,
        case_sensitive=True,
        enable_decoding=False,  # the fields read their own text, and say what is wrong with it
    )

    environment: Literal["dev", "prod"] = "dev"
    timezone: Annotated[str, checked(zone)] = "Asia/Shanghai"
    state_dir: Folder = Path(".taskd")
    # factories: a relative default is resolved when settings are built, not when this is imported
    schedules: Schedules = Field(default_factory=Schedules)
    database: Database = Field(default_factory=Database)
    broker: Broker = Field(default_factory=Broker)
    celery: Celery = Field(default_factory=Celery)
    http: Http = Field(default_factory=Http)
    lease: Lease = Field(default_factory=Lease)
    results: Results = Field(default_factory=Results)
    events: Events = Field(default_factory=Events)
    tasks: Tasks = Field(default_factory=Tasks)
    redact: Redact = Field(default_factory=Redact)
    logging: Logging = Field(default_factory=Logging)
    metrics: Metrics = Field(default_factory=Metrics)

    @classmethod
    def settings_customise_sources(cls, *_: Any, **sources: Any) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing is read behind the caller's back: `load` gathers what there is."""
        return (sources["init_settings"],)

    @model_validator(mode="after")
    def _production_has_a_broker(self) -> Self:
        named = None if self.broker.url else self.broker.kind
        if self.environment == "prod" and named not in {None, "rabbitmq"}:
            raise ValueError(
                f"broker.kind: production runs on rabbitmq, not {named}; remove it, or give broker.url"
            )
        return self

    @model_validator(mode="after")
    def _app_brings_its_broker(self) -> Self:
        if self.celery.app and self.broker.model_fields_set:
            raise ValueError("broker belongs in the app that celery.app names, not here")
        return self

    @property
    def broker_kind(self) -> BrokerKind:
        """The broker that is used, whether it was named, follows from the URL or from the environment."""
        if self.broker.url:
            return broker_kind_of(self.broker.url.get_secret_value())
        return self.broker.kind or ("rabbitmq" if self.environment == "prod" else "files")

    @property
    def broker_url(self) -> SecretStr:
        """The broker's URL for kombu."""
        if self.broker.url:
            return self.broker.url
        match self.broker_kind:
            case "redis":
                return SecretStr(self.broker.redis.url())
            case "rabbitmq":
                return SecretStr(self.broker.rabbitmq.url())
            case "files":
                return SecretStr(f"files://{quote(str(self.state_dir / 'broker'))}")

    @property
    def database_url(self) -> SecretStr:
        """The database's URL for SQLAlchemy, with its driver."""
        url = self.database.url or SecretStr(f"sqlite:///{self.state_dir}/taskd.db")
        return SecretStr(sqlalchemy_url(url.get_secret_value()))

    @property
    def socket_path(self) -> Path:
        """The Unix socket on which the daemon always answers."""
        return self.state_dir / "taskd.sock"


def _quoted(part: str) -> str:
    return quote(part, safe="")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
