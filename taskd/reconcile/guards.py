"""What keeps a pass from deleting what nobody meant to: an outage of the files, or a slip, looks like a wish.

All deletions of a pass are held where
  a root is missing or can't be read as a whole   its files may all still be there
  no schedule file, or no schedule, is found      in all roots, or in the root that those to be deleted came from
  they exceed max(min, percent) of what is owned  schedules.prune_guard
A name that only its own file's errors hide is held by itself: see plan.py. What is held goes on as it was.
"""

from collections.abc import Collection
from dataclasses import dataclass

from taskd.config.models import PruneGuard


@dataclass(frozen=True, slots=True)
class Root:
    """A root as a pass found it: how much is in it, and why it can't be read as a whole, if so."""

    path: str
    files: int
    schedules: int
    error: str | None = None


def reason_to_hold(
    roots: Collection[Root], sources: Collection[str | None], owned: int, guard: PruneGuard
) -> str | None:
    """Why deletions wait for approval; None where they may go. `sources`: the root of each one to be deleted."""
    if not sources:
        return None
    unread = [root.error for root in roots if root.error]
    if unread:
        return "; ".join(unread)
    everything_empty = not any(root.schedules for root in roots)
    for root in roots:
        if not root.schedules and (everything_empty or root.path in sources):
            return f"no {'schedule' if root.files else 'schedule file'} was found in {root.path}"
    if len(sources) > max(guard.min, owned * guard.percent // 100):
        # No counts: while it is held, others come and go, and that is no news.
        return f"more than {guard.min} schedules and {guard.percent} % of them would go at once"
    return None
