"""Where the tests find real services: each is named, started, or already running here.

A service comes from its TASKD_TEST_…_URL, else from a binary on this machine that is started on a free
port, else from whatever answers on the usual local port. One that is absent skips its tests at home and
fails them where `CI` is set. RabbitMQ takes long to start, so one that runs already is preferred to it.

Several test processes may share a service (pytest-xdist), so each takes a database, a virtual host or
names of its own: `own_name` makes them.
"""

import os
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import pytest
from kombu import Connection
from sqlalchemy import URL, create_engine, make_url, text

from tests.waiting import eventually

REDIS = "redis://127.0.0.1:6379/15"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
DATABASES = {
    "postgresql": "postgresql+psycopg://postgres@127.0.0.1:5432/postgres",
    "mariadb": "mariadb+pymysql://root@127.0.0.1:3306/mysql",
}
# Transport options of Redis: seconds until it gives a lost worker's messages back, which taskd's own takes 300 to 400 for.
SOON = {"visibility_timeout": 5, "unacked_restore_interval": 1, "unacked_restore_throttle": 1}


def absent(service: str, remedy: str) -> NoReturn:
    """Skip the test that needs `service`, or fail it where CI promises that everything is there."""
    sentence = f"no {service} here: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)


def answers(url: str) -> bool:
    """Whether something accepts connections at `url`."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=1).close()
    except OSError:
        return False
    return True


def free_port() -> int:
    """A port that nothing on this machine listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def own_name(what: str) -> str:
    """A name for a database, virtual host or prefix that no other test process has."""
    return f"taskd_{what}_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_{uuid.uuid4().hex[:8]}"


@contextmanager
def started(command: list[str], url: str, home: Path, within: float, **env: str) -> Iterator[str]:
    """Run a server until the block ends; it must accept connections at `url` in time."""
    with (home / "output").open("wb") as output:
        server = subprocess.Popen(
            command, cwd=home, env={**os.environ, **env}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        eventually(lambda: answers(url) or server.poll() is not None, within)
        assert server.poll() is None, (home / "output").read_text()
        yield url
    finally:
        server.terminate()
        server.wait(timeout=30)


@contextmanager
def redis(home: Path) -> Iterator[str]:
    """A Redis server's URL with a database number."""
    if url := os.environ.get("TASKD_TEST_REDIS_URL"):
        yield url
    elif binary := shutil.which("redis-server"):
        port = free_port()
        command = [binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(home)]
        with started(command, f"redis://127.0.0.1:{port}/0", home, within=10) as url:
            yield url
    elif answers(REDIS):
        yield REDIS
    else:
        absent("Redis", "install redis-server or set TASKD_TEST_REDIS_URL")


class OwnRedis:
    """A Redis server that can be stopped and started again on its port; it keeps what it has on disk."""

    def __init__(self, home: Path) -> None:
        self._binary = shutil.which("redis-server") or absent("redis-server", "install it")
        self.port, self._home = free_port(), home
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._running = ExitStack()

    def start(self) -> None:
        """Again, with what it had."""
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._home)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._running.enter_context(started(command, self.url, self._home, within=20))

    def stop(self) -> None:
        """SIGTERM."""
        self._running.close()


@contextmanager
def rabbitmq(home: Path) -> Iterator[str]:
    """A RabbitMQ server's URL, with a virtual host of its own where that can be had."""
    named = os.environ.get("TASKD_TEST_RABBITMQ_URL")
    if named or answers(RABBITMQ):
        with own_virtual_host(named or RABBITMQ) as url:
            yield url
    else:
        with own_rabbitmq(home) as server:
            yield server.url


@dataclass(frozen=True)
class OwnRabbitmq:
    """A RabbitMQ that nobody else uses: it may be hurt."""

    url: str
    node: str
    home: Path

    def control(self, *words: str) -> None:
        """`rabbitmqctl`, which must succeed."""
        program = "/usr/lib/rabbitmq/bin/rabbitmqctl"  # the one on PATH changes the user
        command = [program if os.access(program, os.X_OK) else "rabbitmqctl", "-n", self.node, *words]
        environ = {**os.environ, "HOME": str(self.home), "RABBITMQ_CONF_ENV_FILE": os.devnull}
        subprocess.run(command, env=environ, capture_output=True, check=True, timeout=180)


@contextmanager
def own_rabbitmq(home: Path) -> Iterator[OwnRabbitmq]:
    """A RabbitMQ server of our own, on a free port."""
    binary = rabbitmq_binary()
    if binary is None:
        absent("RabbitMQ", "install rabbitmq-server or set TASKD_TEST_RABBITMQ_URL")
    port, node = free_port(), f"{own_name('node')}@localhost"
    configuration = home / "rabbitmq.conf"
    configuration.write_text(f"listeners.tcp.local = 127.0.0.1:{port}\n")
    with started(
        [binary],
        f"amqp://guest:guest@127.0.0.1:{port}//",
        home,
        within=90,
        HOME=str(home),  # Erlang keeps its cookie there
        RABBITMQ_NODENAME=node,
        RABBITMQ_CONF_ENV_FILE=os.devnull,  # the machine's own configuration is not for us
        RABBITMQ_CONFIG_FILE=str(configuration),
        RABBITMQ_DIST_PORT=str(free_port()),
        RABBITMQ_MNESIA_BASE=str(home / "data"),
        RABBITMQ_LOG_BASE=str(home / "log"),
        RABBITMQ_ENABLED_PLUGINS_FILE=str(home / "plugins"),
    ) as url:
        yield OwnRabbitmq(url, node, home)


def rabbitmq_binary() -> str | None:
    """The server itself: Debian's one on PATH changes the user and has the system's folders only."""
    plain = "/usr/lib/rabbitmq/bin/rabbitmq-server"
    return plain if os.access(plain, os.X_OK) else shutil.which("rabbitmq-server")


@contextmanager
def own_virtual_host(url: str) -> Iterator[str]:
    """`url` with a new virtual host, or as it is where rabbitmqctl isn't there or manages another node."""
    name = own_name("vhost")
    own = urlsplit(url)._replace(path=f"/{name}").geturl()
    user = urlsplit(url).username or "guest"
    try:
        if rabbitmqctl("add_vhost", name) and rabbitmqctl(
            "set_permissions", "-p", name, user, ".*", ".*", ".*"
        ):
            yield own if can_connect(own) else url
        else:
            yield url
    finally:
        rabbitmqctl("delete_vhost", name)


def rabbitmqctl(*words: str) -> bool:
    """Whether the command is there and did it."""
    program = shutil.which("rabbitmqctl")
    return (
        program is not None
        and not subprocess.run([program, *words], capture_output=True, check=False).returncode
    )


def can_connect(url: str) -> bool:
    """Whether a broker lets us in at `url`."""
    with Connection(url, connect_timeout=5) as connection:
        try:
            connection.connect()
        except connection.connection_errors:
            return False
    return True


@contextmanager
def own_database(kind: str) -> Iterator[str]:
    """The URL of a new, empty database on a PostgreSQL or MariaDB server; it is dropped when the block ends."""
    variable = f"TASKD_TEST_{kind.upper()}_URL"
    server = make_url(os.environ.get(variable, DATABASES[kind]))
    if not answers(server.render_as_string(hide_password=False)):
        absent(kind, f"start one on its usual local port or set {variable}")
    name = own_name("db")
    _execute(server, f"CREATE DATABASE {name}")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        # PostgreSQL would wait for connections that a killed process left open
        _execute(server, f"DROP DATABASE {name}" + " WITH (FORCE)" * (kind == "postgresql"))


def _execute(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
