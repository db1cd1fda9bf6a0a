"""A large pass is held up by no full collection, and leaves the collector as it was."""

import gc

from taskd.garbage import without_full_collections


def test_there_are_no_full_collections_meanwhile() -> None:
    before, seen = gc.get_threshold(), []

    def note(phase: str, info: dict[str, int]) -> None:
        seen.append((phase, info["generation"]))

    gc.callbacks.append(note)
    try:
        with without_full_collections():
            kept = [[{}] for _ in range(300_000)]
    finally:
        gc.callbacks.remove(note)
    assert kept
    assert seen
    assert ("start", 2) not in seen
    assert gc.get_threshold() == before


def test_what_a_large_pass_has_made_is_looked_at_no_more() -> None:
    frozen = gc.get_freeze_count()
    try:
        with without_full_collections():
            few = [[] for _ in range(10)]
        assert gc.get_freeze_count() == frozen
        with without_full_collections():
            many = [[{}] for _ in range(300_000)]
        assert gc.get_freeze_count() > frozen + len(many)
        assert few
    finally:
        gc.unfreeze()
