"""The applied commit of a source, and the last good text of a file

Revision: 0002, what sources show
"""

import sqlalchemy as sa
from alembic import op

from taskd.store.columns import Json, LongText

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("task_source", sa.Column("applied_commit", Json, nullable=True))
    # What was kept before can't be read back into a file; the next pass keeps the text.
    op.drop_column("task_source_file", "last_good")
    op.add_column("task_source_file", sa.Column("last_good", LongText, nullable=True))
