"""A row of `task_result` as Celery's AsyncResult reads it. What taskd has ended, Celery must see as ended."""

from typing import Any

from celery import states
from sqlalchemy import select
from sqlalchemy.orm import Session

from taskd.store.tables import RunRow

_AS_CELERY_SAYS = {
    "LOST": states.FAILURE,
    "MISSED": states.REVOKED,
    "SKIPPED": states.REVOKED,
    "IGNORED": states.REVOKED,
    "SENT": states.PENDING,
}


def meta_of(session: Session, task_id: str) -> dict[str, Any]:
    """The `meta` of a result backend; PENDING where there is no row, as everywhere in Celery."""
    row = session.execute(select(RunRow).where(RunRow.task_id == task_id)).scalar_one_or_none()
    if row is None:
        return {
            "task_id": task_id,
            "status": states.PENDING,
            "result": None,
            "traceback": None,
            "children": [],
        }
    return {
        "task_id": task_id,
        **_status_and_result(row),
        "traceback": row.traceback,
        "children": [],
        "date_done": row.completed_at,
        "name": row.task_name,
        "args": row.args,
        "kwargs": row.kwargs,
        "worker": row.worker,
        "queue": row.queue,
    }


def _status_and_result(row: RunRow) -> dict[str, Any]:
    reason = (row.detail or {}).get("reason") or row.status
    match row.status:
        case "LOST":
            result: Any = _exception("billiard.exceptions", "WorkerLostError", reason)
        case "MISSED" | "SKIPPED" | "IGNORED":
            result = _exception("celery.exceptions", "TaskRevokedError", reason)
        case "STARTED" if row.progress is not None:  # Celery has one state for both
            return {"status": row.progress.get("state", "PROGRESS"), "result": row.progress}
        case _:
            result = row.result
    return {"status": _AS_CELERY_SAYS.get(row.status, row.status), "result": result}


def _exception(module: str, name: str, text: str) -> dict[str, Any]:
    """As BaseBackend.prepare_exception stores one."""
    return {"exc_module": module, "exc_type": name, "exc_message": [text]}
