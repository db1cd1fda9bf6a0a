"""taskd: periodic work for Celery, declared in Git."""

from importlib.metadata import version

__version__ = version("taskd")
