"""PostgreSQL leaves room on the page for a row's next states: a run that is marked as published touches no index

It holds for what is written from now on; no table is rewritten.

Revision: 0005, room on the page
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in ("task_result", "task_outbox", "task_scheduler"):
            op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")
