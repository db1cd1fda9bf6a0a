"""What a Celery request says about its run. Pure: `request` is a Context, in the pool's child or its parent."""

from typing import Any

from taskd.store import claims
from taskd.store.claims import RUN_HEADER, Call
from taskd.worker.values import storable_args, storable_kwargs

CLAIM = "taskd_claim"  # on the request while its body runs here: the claim's token
STARTED_AT = "taskd_started_at"  # and the monotonic second of its start
LOG = "taskd_log"  # and what it has logged
REPLACED = "taskd_replaced"  # and whether it goes on under the same id


def is_builtin(task_name: str | None) -> bool:
    """Celery's own tasks (chord_unlock, backend_cleanup …) are its machinery, not runs."""
    return bool(task_name and task_name.startswith("celery."))


def is_outside(request: Any) -> bool:
    """Whether what a request does is no run: an eager call, or Celery's own machinery."""
    return bool(getattr(request, "is_eager", False)) or is_builtin(getattr(request, "task", None))


def is_recorded_start(task_name: str, request: Any) -> bool:
    """Whether a call is a worker's start of a message, as opposed to a direct, eager or nested call."""
    outside = request.called_directly or request.is_eager or is_builtin(task_name)
    return not outside and claim_of(request) is None


def claim_of(request: Any) -> str | None:
    """The token of the start that this request is, in the process that runs it."""
    return getattr(request, CLAIM, None)


def is_repeated(request: Any) -> bool:
    """Whether the broker or the daemon says that it has been sent before."""
    origin = (request.headers or {}).get(RUN_HEADER) or {}
    return bool((request.delivery_info or {}).get("redelivered") or "republished" in origin)


def generation_of(request: Any) -> int:
    """Which attempt it is."""
    return claims.generation(request.retries or 0, request.replaced_task_nesting or 0)


def call_of(request: Any, max_bytes: int) -> Call:
    """What `task_result` keeps of the call."""
    return Call(
        task_id=request.id,
        task_name=request.task,
        decided=bool((request.headers or {}).get(RUN_HEADER)),
        args=storable_args(request.args, max_bytes),
        kwargs=storable_kwargs(request.kwargs, max_bytes),
        queue=(request.delivery_info or {}).get("routing_key"),
        root_id=request.root_id,
    )
