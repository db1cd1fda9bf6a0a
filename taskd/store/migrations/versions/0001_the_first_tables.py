"""The first tables

Revision: 0001, the first
"""

import sqlalchemy as sa
from alembic import op

from taskd.store.columns import BigId, Blob, Json, LongText, UtcDateTime, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "task_change",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("change_seq", BigId, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_task_change"),
    )
    op.create_table(
        "task_event",
        sa.Column("id", BigId, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("kind", text(32), nullable=False),
        sa.Column("actor", text(255), nullable=False),
        sa.Column("schedule_uid", sa.Uuid(native_uuid=False), nullable=True),
        sa.Column("name", text(128), nullable=True),
        sa.Column("before", Json, nullable=True),
        sa.Column("after", Json, nullable=True),
        sa.Column("revision", text(255), nullable=True),
        sa.Column("detail", Json, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_task_event"),
    )
    op.create_index("ix_task_event_at", "task_event", ["at"], unique=False)
    op.create_index("ix_task_event_schedule_uid_id", "task_event", ["schedule_uid", "id"], unique=False)
    op.create_table(
        "task_lease",
        sa.Column("name", text(32), nullable=False),
        sa.Column("holder", text(255), nullable=True),
        sa.Column("epoch", BigId, nullable=False),
        sa.Column("seq", BigId, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_task_lease"),
    )
    op.create_table(
        "task_outbox",
        sa.Column("run_id", BigId, autoincrement=False, nullable=False),
        sa.Column("body", Blob, nullable=False),
        sa.Column("headers", Json, nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("not_before", UtcDateTime(), nullable=True),
        sa.Column("held_by", text(155), nullable=True),
        sa.Column("publish_no", sa.Integer(), nullable=False),
        sa.Column("published_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name="pk_task_outbox"),
    )
    op.create_index("ix_task_outbox_held_by", "task_outbox", ["held_by"], unique=False)
    op.create_index("ix_task_outbox_not_before", "task_outbox", ["not_before"], unique=False)
    op.create_table(
        "task_result",
        sa.Column("id", BigId, nullable=False),
        sa.Column("task_id", text(155), nullable=False),
        sa.Column("task_name", text(255), nullable=False),
        sa.Column("status", text(16), nullable=False),
        sa.Column("result", Json, nullable=True),
        sa.Column("traceback", LongText, nullable=True),
        sa.Column("args", Json, nullable=True),
        sa.Column("kwargs", Json, nullable=True),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("completed_at", UtcDateTime(), nullable=True),
        sa.Column("runtime", sa.Double(), nullable=True),
        sa.Column("worker", text(255), nullable=True),
        sa.Column("schedule_id", BigId, nullable=True),
        sa.Column("schedule_name", text(128), nullable=True),
        sa.Column("scheduled_for", UtcDateTime(), nullable=True),
        sa.Column("kind", text(8), nullable=False),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("published_at", UtcDateTime(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("claim", text(128), nullable=True),
        sa.Column("queue", text(255), nullable=True),
        sa.Column("root_id", text(155), nullable=True),
        sa.Column("progress", Json, nullable=True),
        sa.Column("detail", Json, nullable=True),
        sa.Column("log", LongText, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_task_result"),
        sa.UniqueConstraint("schedule_id", "scheduled_for", name="uq_task_result_schedule_id_scheduled_for"),
        sa.UniqueConstraint("task_id", name="uq_task_result_task_id"),
    )
    op.create_index("ix_task_result_completed_at", "task_result", ["completed_at"], unique=False)
    op.create_index("ix_task_result_schedule_id_id", "task_result", ["schedule_id", "id"], unique=False)
    op.create_index("ix_task_result_status_id", "task_result", ["status", "id"], unique=False)
    op.create_index("ix_task_result_task_name_id", "task_result", ["task_name", "id"], unique=False)
    op.create_table(
        "task_scheduler",
        sa.Column("id", BigId, nullable=False),
        sa.Column("uid", sa.Uuid(native_uuid=False), nullable=False),
        sa.Column("name", text(128), nullable=False),
        sa.Column("task", text(255), nullable=False),
        sa.Column("schedule_type", text(16), nullable=False),
        sa.Column("crontab", text(256), nullable=True),
        sa.Column("interval_seconds", sa.Integer(), nullable=True),
        sa.Column("start_time", UtcDateTime(), nullable=True),
        sa.Column("end_time", UtcDateTime(), nullable=True),
        sa.Column("timezone", text(64), nullable=False),
        sa.Column("args", Json, nullable=True),
        sa.Column("kwargs", Json, nullable=True),
        sa.Column("description", LongText, nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("one_off", sa.Boolean(), nullable=False),
        sa.Column("max_run_count", sa.Integer(), nullable=False),
        sa.Column("options", Json, nullable=False),
        sa.Column("policy", Json, nullable=False),
        sa.Column("labels", Json, nullable=False),
        sa.Column("owner", text(8), nullable=False),
        sa.Column("source", text(255), nullable=True),
        sa.Column("path", text(1024), nullable=True),
        sa.Column("line", sa.Integer(), nullable=True),
        sa.Column("fingerprint", text(64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("paused_at", UtcDateTime(), nullable=True),
        sa.Column("paused_by", text(255), nullable=True),
        sa.Column("paused_reason", LongText, nullable=True),
        sa.Column("paused_until", UtcDateTime(), nullable=True),
        sa.Column("last_run_at", UtcDateTime(), nullable=True),
        sa.Column("total_run_count", sa.Integer(), nullable=False),
        sa.Column("counted_from", sa.Integer(), nullable=False),
        sa.Column("cursor_at", UtcDateTime(), nullable=False),
        sa.Column("next_run_at", UtcDateTime(), nullable=True),
        sa.Column("failures_in_a_row", sa.Integer(), nullable=False),
        sa.Column("state", text(16), nullable=False),
        sa.Column("state_detail", LongText, nullable=True),
        sa.Column("conditions", Json, nullable=False),
        sa.Column("deleted_at", UtcDateTime(), nullable=True),
        sa.Column(
            "living_name",
            text(128),
            sa.Computed("CASE WHEN deleted_at IS NULL THEN name END", persisted=True),
            nullable=True,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_task_scheduler"),
        sa.UniqueConstraint("living_name", name="uq_task_scheduler_living_name"),
        sa.UniqueConstraint("uid", name="uq_task_scheduler_uid"),
    )
    op.create_index("ix_task_scheduler_name", "task_scheduler", ["name"], unique=False)
    op.create_index("ix_task_scheduler_owner_source", "task_scheduler", ["owner", "source"], unique=False)
    op.create_index(
        "ix_task_scheduler_state_next_run_at", "task_scheduler", ["state", "next_run_at"], unique=False
    )
    op.create_table(
        "task_source",
        sa.Column("name", text(255), nullable=False),
        sa.Column("root", text(1024), nullable=False),
        sa.Column("revision_seen", text(255), nullable=True),
        sa.Column("revision_applied", text(255), nullable=True),
        sa.Column("conditions", Json, nullable=False),
        sa.Column("passes", Json, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_task_source"),
    )
    op.create_table(
        "task_source_file",
        sa.Column("source", text(255), nullable=False),
        sa.Column("path", text(512), nullable=False),
        sa.Column("digest", text(64), nullable=True),
        sa.Column("last_good", Json, nullable=True),
        sa.Column("error", LongText, nullable=True),
        sa.PrimaryKeyConstraint("source", "path", name="pk_task_source_file"),
    )
    op.create_table(
        "task_worker",
        sa.Column("name", text(255), nullable=False),
        sa.Column("incarnation", text(64), nullable=False),
        sa.Column("beat", BigId, nullable=False),
        sa.Column("host", text(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pool", text(32), nullable=False),
        sa.Column("queues", Json, nullable=False),
        sa.Column("recorded_tasks", Json, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_task_worker"),
    )
    # These rows are there from the start: nobody ever has to insert them in a race.
    op.execute("INSERT INTO task_change (id, change_seq) VALUES (1, 0)")
    op.execute("INSERT INTO task_lease (name, epoch, seq) VALUES ('dispatch', 0, 0), ('reconcile', 0, 0)")


def downgrade() -> None:
    op.drop_table("task_worker")
    op.drop_table("task_source_file")
    op.drop_table("task_source")
    op.drop_index("ix_task_scheduler_state_next_run_at", table_name="task_scheduler")
    op.drop_index("ix_task_scheduler_owner_source", table_name="task_scheduler")
    op.drop_index("ix_task_scheduler_name", table_name="task_scheduler")
    op.drop_table("task_scheduler")
    op.drop_index("ix_task_result_task_name_id", table_name="task_result")
    op.drop_index("ix_task_result_status_id", table_name="task_result")
    op.drop_index("ix_task_result_schedule_id_id", table_name="task_result")
    op.drop_index("ix_task_result_completed_at", table_name="task_result")
    op.drop_table("task_result")
    op.drop_index("ix_task_outbox_not_before", table_name="task_outbox")
    op.drop_index("ix_task_outbox_held_by", table_name="task_outbox")
    op.drop_table("task_outbox")
    op.drop_table("task_lease")
    op.drop_index("ix_task_event_schedule_uid_id", table_name="task_event")
    op.drop_index("ix_task_event_at", table_name="task_event")
    op.drop_table("task_event")
    op.drop_table("task_change")
