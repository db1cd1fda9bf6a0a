"""What a run has begun is found by its root without reading all runs

Revision: 0003, runs by their root
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_task_result_root_id", "task_result", ["root_id"], unique=False)
