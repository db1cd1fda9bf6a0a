"""Writes of one statement that is a transaction by itself: what a worker does twice a task, so it has to be cheap.

SQLAlchemy takes longer to compile such a statement, or to find that it has, than a database to execute it. So each is
compiled once for a database, and its values go to the driver as the columns' types convert them. On PostgreSQL it
commits itself; SQLite takes the write lock for it alone.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import BindParameter, Dialect, Engine, Executable, bindparam
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
        text, fixed, order, converters = self._prepared(engine.dialect)
        told: dict[str, Any] = {**fixed, **values}
        for name, convert in converters.items():
            told[name] = convert(told[name])
        parameters: Any = told if order is None else tuple([told[name] for name in order])
        with engine.begin() as connection:
            return connection.exec_driver_sql(text, parameters).rowcount

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


def _converter(of: Any, dialect: Dialect) -> Callable[[Any], Any] | None:
    return of.dialect_impl(dialect).bind_processor(dialect)  # type: ignore[no-any-return]
