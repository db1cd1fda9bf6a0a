"""Writes of one statement: what a worker does for each task, so it has to be cheap.

SQLAlchemy takes longer to compile such a statement, or to find that it has, than a database to execute it. So each is
compiled once for a database, and its values go to the driver as the columns' types convert them. Alone, it is a
transaction by itself: on PostgreSQL it commits itself; SQLite takes the write lock for it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import BindParameter, Connection, Dialect, Engine, Executable, bindparam
from sqlalchemy.sql.elements import ClauseElement

# its text, the values that stand in it, the order of its values where they have no names, and what converts them
Prepared = tuple[str, Mapping[str, Any], list[str] | None, Mapping[str, Callable[[Any], Any]]]


def given(column: Any) -> BindParameter[Any]:
    """The place of a value that is given with each run, by the column's name and of its type."""
    return bindparam(column.key, type_=column.type, required=False)


class Single:
    """A statement on typed columns, with named parameters."""

    def __init__(self, statement: Executable) -> None:
        self._statement = statement
        self._known: dict[str, Prepared] = {}

    def run(self, engine: Engine, **values: Any) -> int:
        """How many rows it has changed. Raises as any statement does."""
        prepared = self._prepared(engine.dialect)
        with engine.begin() as connection:
            return connection.exec_driver_sql(prepared[0], _parameters(prepared, values)).rowcount

    def run_all(self, connection: Connection, rows: Iterable[Mapping[str, Any]]) -> int:
        """The same for each of `rows`, in the connection's transaction: how many rows all of them have changed."""
        prepared = self._prepared(connection.dialect)
        parameters = [_parameters(prepared, values) for values in rows]
        return connection.exec_driver_sql(prepared[0], parameters).rowcount if parameters else 0

    def _prepared(self, dialect: Dialect) -> Prepared:
        known = self._known.get(dialect.name)
        if known is None:
            assert isinstance(self._statement, ClauseElement)
            compiled: Any = self._statement.compile(
                dialect=dialect, compile_kwargs={"render_postcompile": True}
            )
            fixed = compiled.params
            types = {name: compiled.binds[name].type for name in fixed if name in compiled.binds}
            found = {name: _converter(of, dialect) for name, of in types.items()}
            converters = {name: converter for name, converter in found.items() if converter}
            known = str(compiled), fixed, compiled.positiontup, converters
            self._known[dialect.name] = known
        return known


def _parameters(prepared: Prepared, values: Mapping[str, Any]) -> Any:
    _, fixed, order, converters = prepared
    told: dict[str, Any] = {**fixed, **values}
    for name, convert in converters.items():
        told[name] = convert(told[name])
    return told if order is None else tuple([told[name] for name in order])


def _converter(of: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    return of.dialect_impl(dialect).bind_processor(dialect)  # type: ignore[no-any-return]
