"""Waiting for a state, with a deadline: what the tests have instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.01  # seconds between two looks
SLACK = 3  # a machine with much else to do may take that many times as long; only who waits in vain notices


def eventually(check: Callable[[], T], within: float = 10.0, pause: float = PAUSE) -> T:
    """The first true value of `check`, or a failure that shows the last one; `within` seconds on an idle machine."""
    deadline = time.monotonic() + within * SLACK
    while not (seen := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within * SLACK:g} s; last seen: {seen!r}")
        time.sleep(pause)
    return seen
