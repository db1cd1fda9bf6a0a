"""Many rows at once, as each database takes them best.

SQLAlchemy's VALUES in pages cost more than the rows do: thousands of parameters are named, converted, and looked for in
a long text. So PostgreSQL gets one JSON text of all rows, SQLite its driver's own loop, under ids that it would have
given out itself: its transactions that write are alone. MariaDB gets the pages.
"""

import json
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    LargeBinary,
    Table,
    any_,
    bindparam,
    column,
    func,
    insert,
    select,
    table,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session
from sqlalchemy.types import Text, TypeEngine

from taskd.store.columns import UtcDateTime, sqlite_text

_NUMBERS = ARRAY(BigInteger)


class Bulk:
    """Inserts into some columns of a table, its JSON columns from texts. With a `key`, `id` is given by the database."""

    def __init__(self, whole: Table, columns: Sequence[str], key: str | None = None) -> None:
        self._name, self._columns, self._key = whole.name, tuple(columns), key
        types = {name: whole.c[name].type for name in columns}
        self._instants = [index for index, of in enumerate(types.values()) if isinstance(of, UtcDateTime)]
        self._pages: Any = insert(_taking_texts(whole.name, types))
        self._sqlite = _of_driver(whole.name, [*columns, *(["id"] if key else [])])
        self._postgresql = _of_json(whole.name, types)

    def insert(self, session: Session, rows: Sequence[tuple[Any, ...]]) -> dict[str, int]:
        """Write them, values in the order of the columns; with a key, the ids by its values. Raises as any statement does."""
        connection = session.connection()
        match connection.dialect.name:
            case "sqlite":
                return self._insert_by_driver(connection, rows)
            case "postgresql":
                statement = self._postgresql + (f" RETURNING {self._key}, id" if self._key else "")
                answer = connection.exec_driver_sql(
                    statement, (json.dumps(self._named(rows), default=_plain),)
                )
            case _ if self._key:
                returning = self._pages.returning(column(self._key), column("id"))
                answer = connection.execute(returning, self._named(rows))
            case _:
                answer = connection.execute(self._pages, self._named(rows))
        return {key: number for key, number in answer} if self._key else {}  # noqa: C416  rows are no pairs to mypy

    def _named(self, rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
        return [dict(zip(self._columns, row, strict=True)) for row in rows]

    def _insert_by_driver(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> dict[str, int]:
        columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
        for index in self._instants:
            columns[index] = map(sqlite_text, columns[index])
        if self._key is None:
            connection.exec_driver_sql(self._sqlite, list(zip(*columns, strict=True)))
            return {}
        last = connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) FROM {self._name}").scalar_one()  # noqa: S608
        numbers = range(last + 1, last + 1 + len(rows))
        connection.exec_driver_sql(self._sqlite, list(zip(*columns, numbers, strict=True)))
        key = self._columns.index(self._key)
        return {row[key]: number for row, number in zip(rows, numbers, strict=True)}


def among(session: Session, number: Any, numbers: Collection[int]) -> ColumnElement[bool]:
    """Whether a column has one of these: one parameter, where a text with hundreds would be made anew each time."""
    match session.connection().dialect.name:
        case "postgresql":
            return number == any_(bindparam(None, list(numbers), type_=_NUMBERS))  # type: ignore[no-any-return]
        case "sqlite":
            return cast("ColumnElement[bool]", number.in_(select(_each(numbers).c.value)))
    return number.in_(numbers)  # type: ignore[no-any-return]


def _taking_texts(name: str, types: Mapping[str, TypeEngine[Any]]) -> Any:
    return table(name, *(column(key, Text() if isinstance(of, JSON) else of) for key, of in types.items()))


def _of_driver(name: str, columns: Sequence[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608  our own names


def _of_json(name: str, types: Mapping[str, TypeEngine[Any]]) -> str:
    taken = ", ".join(map(_from_json, types, types.values()))
    record = ", ".join(f"{key} {_in_json(of)}" for key, of in types.items())
    return f"INSERT INTO {name} ({', '.join(types)}) SELECT {taken} FROM json_to_recordset(%s) AS r({record})"  # noqa: S608


def _from_json(name: str, of: TypeEngine[Any]) -> str:
    if isinstance(of, JSON):
        return f"{name}::json"
    return f"decode({name}, 'base64')" if isinstance(of, LargeBinary) else name


def _in_json(of: TypeEngine[Any]) -> str:
    if isinstance(of, Integer):
        return "bigint"
    return "timestamptz" if isinstance(of, UtcDateTime) else "text"


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else b64encode(value).decode()


def _each(numbers: Collection[int]) -> Any:
    return func.json_each(json.dumps(list(numbers))).table_valued("value")
