"""A long history is looked through quickly: runs by queue, worker, kind and time; what charts need, added up by the minute

Revision: 0004, a long history
"""

import sqlalchemy as sa
from alembic import op

from taskd.store.columns import Json, UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # SQLite can't add a stored column, PostgreSQL has no others, MariaDB is surer with them.
    stored = op.get_bind().dialect.name != "sqlite"
    dated = sa.Computed("coalesce(scheduled_for, decided_at, started_at)", persisted=stored)
    op.add_column("task_result", sa.Column("dated_at", UtcDateTime(), dated, nullable=True))
    for column in ("dated_at", "queue", "worker", "kind"):
        op.create_index(f"ix_task_result_{column}_id", "task_result", [column, "id"], unique=False)
    op.create_table(
        "task_stat",
        sa.Column("seconds", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start", UtcDateTime(), nullable=False),
        sa.Column("counts", Json, nullable=False),
        sa.Column("runtime", Json, nullable=False),
        sa.Column("lateness", Json, nullable=False),
        sa.PrimaryKeyConstraint("seconds", "start", name="pk_task_stat"),
    )
