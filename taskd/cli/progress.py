"""A bar on long work: on stderr, only if that is a terminal, only once it takes a moment, and gone when the work is done."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

SOON = 0.5  # seconds: what is done by then needs no bar

Step = Callable[[int, int | None], None]
"""(how much is done, of how much; None where nobody knows)."""


@contextmanager
def bar(what: str) -> Iterator[Step]:
    """Yields what is to be told at each step."""
    if not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    shown = Progress(*columns, console=Console(stderr=True), transient=True)
    work, soon = shown.add_task(what, total=None), Timer(SOON, shown.start)
    soon.start()
    try:
        yield lambda done, total: shown.update(work, completed=done, total=total)
    finally:
        soon.cancel()
        soon.join()
        shown.stop()
