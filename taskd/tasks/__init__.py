"""The tasks that ship: `imports: [taskd.tasks]` registers all of them, with any Celery application."""

from taskd.tasks import demo
from taskd.tasks.checks import http_check
from taskd.tasks.commands import run_command
from taskd.tasks.retention import purge_events, purge_results

__all__ = ["demo", "http_check", "purge_events", "purge_results", "run_command"]
