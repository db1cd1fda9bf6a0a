"""One number over the schedules' rows, computed by the database: equal as long as nobody changed what a plan compares.

Seals add up: that of some rows can be taken from that of all and put back anew, so a pass that wrote ten rows
needn't read the ten thousand others.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, func, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from taskd.store.schedules import DECLARED
from taskd.store.tables import ScheduleRow

COMPARED = ("uid", "name", "version", "owner", "source", "path", "line", "conditions", *DECLARED)
"""The columns that a plan looks at."""


class Seal(NamedTuple):
    """How many living rows, and the sum of their hashes. Worth something in this process only."""

    rows: int
    hashes: int

    def replaced(self, before: "Seal", after: "Seal") -> "Seal":
        """This one, once rows that had the seal `before` have the seal `after`."""
        return Seal(self.rows - before.rows + after.rows, self.hashes - before.hashes + after.hashes)


class _RowHash(FunctionElement[int]):
    """32 bits or so over some columns of a row: text, JSON and null included."""

    type = BigInteger()
    inherit_cache = True


@compiles(_RowHash, "sqlite")
def _sqlite(element: _RowHash, compiler: SQLCompiler, **kw: Any) -> str:
    return f"taskd_hash({compiler.process(element.clauses, **kw)})"


@compiles(_RowHash, "postgresql")
def _postgresql(element: _RowHash, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST(hashtext(CAST(ROW({compiler.process(element.clauses, **kw)}) AS text)) AS bigint)"


@compiles(_RowHash, "mysql")
@compiles(_RowHash, "mariadb")
def _mariadb(element: _RowHash, compiler: SQLCompiler, **kw: Any) -> str:
    # CONCAT_WS leaves nulls out, so that a value could move from one column to the next unseen.
    told = (
        f"IFNULL(CAST({compiler.process(column, **kw)} AS BINARY), CHAR(0))" for column in element.clauses
    )
    return f"CRC32(CONCAT_WS(CHAR(31), {', '.join(told)}))"


_HASHES = func.sum(_RowHash(*(getattr(ScheduleRow, column) for column in COMPARED)))


def seal(session: Session, names: Collection[str] | None = None) -> Seal:
    """The seal of all living schedules, or of those with these names."""
    query = select(func.count(), _HASHES).where(ScheduleRow.deleted_at.is_(None))
    if names is not None:
        query = query.where(ScheduleRow.name.in_(names))
    rows, hashes = session.execute(query).one()
    return Seal(rows, int(hashes or 0))
