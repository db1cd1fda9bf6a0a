"""taskd: periodic work for Celery, declared in Git."""

from importlib.metadata import version
from typing import Any

__version__ = version("taskd")
__all__ = ["BaseTask", "__version__"]


def __getattr__(name: str) -> Any:
    """`from taskd import BaseTask` imports Celery; importing a pure part of taskd doesn't (PEP 562)."""
    if name == "BaseTask":
        from taskd.worker.task import BaseTask  # noqa: PLC0415  that is the point

        return BaseTask
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
