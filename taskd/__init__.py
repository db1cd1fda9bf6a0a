"""taskd: periodic work for Celery, declared in Git."""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("taskd")
__all__ = ["BaseTask", "TzCrontab", "__version__", "install"]

_HOMES = {"BaseTask": "taskd.worker.task", "TzCrontab": "taskd.tzcrontab", "install": "taskd.worker.install"}


def __getattr__(name: str) -> Any:
    """`from taskd import BaseTask` imports Celery; importing a pure part of taskd doesn't (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
