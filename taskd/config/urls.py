"""Addresses of the broker, the database and the HTTP server: checked, completed, shown without their secrets."""

import re
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from typing import Literal

BrokerKind = Literal["files", "redis", "rabbitmq"]
Address = Path | tuple[str, int]

_BROKERS: dict[str, BrokerKind] = {
    "files": "files",
    "redis": "redis",
    "rediss": "redis",
    "sentinel": "redis",
    "amqp": "rabbitmq",
    "amqps": "rabbitmq",
    "pyamqp": "rabbitmq",
}
# scheme → SQLAlchemy's dialect and driver, the driver's module, the extra that installs it
_DATABASES = {
    "postgres": ("postgresql+psycopg", "psycopg", "postgresql"),
    "postgresql": ("postgresql+psycopg", "psycopg", "postgresql"),
    "postgresql+psycopg": ("postgresql+psycopg", "psycopg", "postgresql"),
    "mysql": ("mysql+pymysql", "pymysql", "mariadb"),
    "mysql+pymysql": ("mysql+pymysql", "pymysql", "mariadb"),
    "mariadb": ("mariadb+pymysql", "pymysql", "mariadb"),
    "mariadb+pymysql": ("mariadb+pymysql", "pymysql", "mariadb"),
}
_PASSWORD = re.compile(r"(?<=://)([^\s:/?#@]*):\S*@")
_SECRET_QUERY = re.compile(r"([?&]\w*(?:password|passwd|secret|token)\w*=)[^&\s]*", re.IGNORECASE)


def masked(text: str) -> str:
    """`text` with the password of a URL in it, in front of `@` or in the query, shown as `**`."""
    return _SECRET_QUERY.sub(r"\1**", _PASSWORD.sub(r"\1:**@", text))


def broker_kind_of(url: str) -> BrokerKind:
    """The kind of broker that a URL's scheme names; raises ValueError."""
    kind = _BROKERS.get(url.partition("://")[0].partition("+")[0])
    if kind is None or "://" not in url:
        raise ValueError("should begin with amqp://, amqps://, redis://, rediss://, sentinel:// or files://")
    return kind


def sqlalchemy_url(url: str) -> str:
    """`url` with the driver that taskd uses; raises ValueError, also where the driver isn't installed."""
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite" and rest.startswith("/") and rest not in {"/", "/:memory:"}:
        return f"sqlite:///{Path(rest[1:]).absolute()}"
    if scheme not in _DATABASES or not rest:
        raise ValueError("should begin with postgresql://, mariadb://, mysql:// or sqlite:/// and a file")
    dialect, module, extra = _DATABASES[scheme]
    if find_spec(module) is None:
        raise ValueError(f"the driver for {scheme} is not installed: pip install 'taskd[{extra}]'")
    return f"{dialect}://{rest}"


def address_of(bind: str) -> Address:
    """`host:port` or `unix:/path` as an address; raises ValueError."""
    if bind.startswith("unix:"):
        return Path(bind.removeprefix("unix:")).absolute()
    host, _, port = bind.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError("should be host:port, such as 127.0.0.1:8470, or unix:/path")
    return host, int(port)


def check_local(bind: str) -> None:
    """Raise ValueError where other machines could reach the address."""
    match address_of(bind):
        case (host, _) if not _is_loopback(host):
            raise ValueError(
                f"{host} is not a loopback address: without http.tokens taskd listens on 127.0.0.1, [::1] or a"
                " Unix socket only; add tokens"
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
