"""Column types that mean the same on SQLite, PostgreSQL and MariaDB."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Double, Integer, LargeBinary, String, Text
from sqlalchemy.dialects.mysql import DATETIME, LONGBLOB, MEDIUMTEXT, VARCHAR
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine


class UtcDateTime(TypeDecorator[datetime]):
    """An instant: aware in Python, UTC with microseconds in the database (timestamptz, DATETIME(6), ISO text)."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The dialect's own column type."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuses naive values: nobody could say what they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} is naive: instants are aware")
        instant = value.astimezone(UTC)
        return instant if dialect.name == "postgresql" else instant.replace(tzinfo=None)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """SQLite's texts are read here: thousands of rows share their instants."""
        return _instant if dialect.name == "sqlite" else super().result_processor(dialect, coltype)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, UTC."""
        if value is None:
            return None
        return value.astimezone(UTC) if dialect.name == "postgresql" else value.replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def _instant(stored: str | None) -> datetime | None:
    return None if stored is None else datetime.fromisoformat(stored).replace(tzinfo=UTC)


@lru_cache(maxsize=4096)
def sqlite_text(instant: datetime | None) -> str | None:
    """As SQLAlchemy's DateTime keeps it on SQLite."""
    if instant is None:
        return None
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")


def text(length: int) -> String:
    """A short string that compares and sorts by its bytes on every database."""
    return (
        String(length)
        .with_variant(VARCHAR(length, collation="utf8mb4_nopad_bin"), "mysql", "mariadb")
        .with_variant(String(length, collation="C"), "postgresql")
    )


# SQLite only counts up by itself on INTEGER PRIMARY KEY.
BigId = BigInteger().with_variant(Integer(), "sqlite")
Json = JSON(none_as_null=True)
LongText = Text().with_variant(
    MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_nopad_bin"), "mysql", "mariadb"
)
Blob = LargeBinary().with_variant(LONGBLOB(), "mysql", "mariadb")


def to_json(value: object) -> str:
    """JSON as the databases keep it. Raises ValueError for what isn't a number, TypeError for what isn't JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json(text: str | bytes) -> Any:
    """The value; most are empty, and of a page there are hundreds."""
    if len(text) == 2:
        return [] if text in {"[]", b"[]"} else {} if text in {"{}", b"{}"} else json.loads(text)
    return json.loads(text if isinstance(text, str) else text.decode())


def json_or_null(value: object) -> str | None:
    """The same for a column that may be null."""
    return None if value is None else to_json(value)


class seconds_between(FunctionElement[float]):  # noqa: N801  it reads as a function
    """Seconds from the first instant to the second, as a number."""

    type = Double()
    inherit_cache = True


@compiles(seconds_between)
def _sqlite_seconds(element: Any, compiler: Any, **how: Any) -> str:
    first, second = (compiler.process(part, **how) for part in element.clauses)
    return f"((julianday({second}) - julianday({first})) * 86400.0)"


@compiles(seconds_between, "postgresql")
def _postgresql_seconds(element: Any, compiler: Any, **how: Any) -> str:
    first, second = (compiler.process(part, **how) for part in element.clauses)
    return f"CAST(EXTRACT(EPOCH FROM ({second} - {first})) AS DOUBLE PRECISION)"


@compiles(seconds_between, "mysql", "mariadb")
def _mariadb_seconds(element: Any, compiler: Any, **how: Any) -> str:
    first, second = (compiler.process(part, **how) for part in element.clauses)
    return f"(TIMESTAMPDIFF(MICROSECOND, {first}, {second}) / 1e6)"
