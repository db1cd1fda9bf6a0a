"""A message that the worker's main process sends back: its run is free for the next delivery.

Celery tells no backend of it. The child that had begun it is gone (`reject_on_worker_lost`), or has given its claim back
itself, which this changes nothing about.
"""

from typing import Any


class GivesBack:
    """Comes before Celery's Request, or the task's own."""

    _context: Any
    task: Any
    acknowledged: bool

    def reject(self, requeue: bool = False) -> None:
        """First the record, then the message: a worker that gets it again asks for what waits here before."""
        if requeue and not self.acknowledged:
            self.task.backend.sent_back(self._context)
        super().reject(requeue=requeue)  # type: ignore[misc]  # Celery's
