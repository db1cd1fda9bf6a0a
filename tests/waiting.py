"""Waiting for a state, with a deadline: what the tests have instead of sleeping."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PAUSE = 0.01  # seconds between two looks


def eventually(check: Callable[[], T], within: float = 10.0) -> T:
    """The first true value of `check`, or a failure that shows the last one after `within` seconds."""
    deadline = time.monotonic() + within
    while not (seen := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within:g} s; last seen: {seen!r}")
        time.sleep(PAUSE)
    return seen
