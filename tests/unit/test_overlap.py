"""What becomes of a fire while earlier runs are active: the table of overlap, row by row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.schedule.overlap import Active, Arrangement, Go, Hold, Overlap, Skip, arrange, lease_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

# Runs: p is decided and waits for a worker, r runs, s is stale (claimed over an hour ago), h is held; each has its
# number. Fires: a, b, c. What becomes of them: a goes, a>p1 is held by p1, a!p1 is skipped because of p1.
OVERLAP = """
# policy              | runs     | fires | become           | released | revoked | stale
allow                 |          | a     | a                |          |         |
allow                 | r1 r2    | a b   | a b              |          |         |
allow                 | r1 h2    | a     | a                | h2       |         |
skip                  |          | a     | a                |          |         |
skip                  | p1       | a     | a!p1             |          |         |
skip                  | r1       | a b   | a!r1 b!r1        |          |         |
skip                  |          | a b   | a b!a            |          |         |
skip                  | s1       | a     | a                |          |         | s1
skip                  | s1 r2    | a     | a!r2             |          |         | s1
skip max_active 2     | r1       | a b   | a b!r1           |          |         |
skip max_active 2     | r1 r2    | a     | a!r1             |          |         |
buffer                |          | a     | a                |          |         |
buffer                | r1       | a     | a>r1             |          |         |
buffer                | r1       | a b   | a>r1 b!r1        |          |         |
buffer                | r1 h2    | a     | a!r1             |          |         |
buffer                | h1       |       |                  | h1       |         |
buffer                | h1       | a     | a>h1             | h1       |         |
buffer                | s1 h2    | a     | a>h2             | h2       |         | s1
buffer                | r1 h2    |       |                  |          |         |
buffer size 2         | r1       | a b c | a>r1 b>r1 c!r1   |          |         |
buffer size 2         | r1 h2    | a b   | a>r1 b!r1        |          |         |
buffer size 2         | h1 h2    | a     | a>h1             | h1       |         |
buffer max_active 2   | r1       | a b   | a b>r1           |          |         |
buffer max_active 2   | h1 h2    | a     | a>h1             | h1 h2    |         |
skip                  | r1 h2    |       |                  |          |         |
skip                  | h1       | a     | a!h1             | h1       |         |
cancel                |          | a     | a                |          |         |
cancel                | r1       | a     | a                |          | r1      |
cancel                | p1       | a b   | a!b b            |          | p1      |
cancel max_active 2   | r1       | a     | a                |          |         |
cancel max_active 2   | r1 r2    | a     | a                |          | r1      |
cancel max_active 2   | r1       | a b   | a b              |          | r1      |
cancel                | s1       | a     | a                |          | s1      |
cancel                | r1       |       |                  |          |         |
cancel                | h1       | a     | a                |          | h1      |
terminate             | r1       | a     | a                |          | r1      |
terminate             | p1 r2 s3 | a     | a                |          | p1 r2 s3 |
terminate             | r1       | a b   | a!b b            |          | r1      |
"""


def rows(table: str) -> list[list[str]]:
    lines = [line for line in table.strip().splitlines() if not line.startswith("#")]
    return [[cell.strip() for cell in line.split("|")] for line in lines]


def overlap(text: str) -> Overlap:
    policy, *rest = text.split()
    numbers: Any = {key: int(value) for key, value in zip(rest[::2], rest[1::2], strict=True)}
    return Overlap(policy, **numbers)  # type: ignore[arg-type]


def run(name: str) -> Active:
    claimed = {"r": NOON - HOUR + timedelta(seconds=1), "s": NOON - HOUR}.get(name[0])
    return Active(int(name[1:]), name, claimed, held=name[0] == "h")


def drawn(name: str, verdict: Go | Hold | Skip) -> str:
    match verdict:
        case Go():
            return name
        case Hold(behind):
            return f"{name}>{behind}"
        case Skip(active):
            return f"{name}!{active}"


@pytest.mark.parametrize("row", rows(OVERLAP), ids=lambda row: "-".join(row[:3]))
def test_the_overlap_table(row: list[str]) -> None:
    policy, runs, fires, become, *rest = row
    arranged = arrange(overlap(policy), HOUR, [run(name) for name in runs.split()], fires.split(), NOON)
    assert " ".join(map(drawn, fires.split(), arranged.fires)) == become
    touched = (arranged.released, arranged.revoked, arranged.stale)
    assert [" ".join(found.task_id for found in part) for part in touched] == rest
    assert arranged.changes == any(rest)


def test_a_skip_says_why() -> None:
    because = {
        policy: arrange(overlap(policy), HOUR, [run("r1"), run("h2")], ["a", "b"], NOON).fires[0]
        for policy in ("skip", "buffer", "terminate")
    }
    assert because == {
        "skip": Skip("r1", "active"),
        "buffer": Skip("r1", "buffer full"),
        "terminate": Skip("b", "superseded"),
    }


def test_a_lease_is_the_hard_limit_an_hour_at_least_or_what_is_said() -> None:
    assert lease_of(Overlap("skip"), None) == HOUR
    assert lease_of(Overlap("skip"), 60) == HOUR
    assert lease_of(Overlap("skip"), 7200) == 2 * HOUR
    assert lease_of(Overlap("skip", stale_after=60), 7200) == timedelta(minutes=1)


@given(
    policy=st.sampled_from(["allow", "skip", "buffer", "cancel", "terminate"]),
    max_active=st.integers(1, 4),
    size=st.integers(1, 4),
    kinds=st.lists(st.sampled_from("prsh"), max_size=8),
    fires=st.integers(0, 6),
)
def test_every_fire_has_its_place_and_no_more_than_max_active_go(
    policy: Any, max_active: int, size: int, kinds: list[str], fires: int
) -> None:
    there = [run(f"{kind}{n}") for n, kind in enumerate(kinds)]
    wanted = Overlap(policy, max_active, size)
    arranged = arrange(wanted, HOUR, there, [f"f{n}" for n in range(fires)], NOON)
    assert len(arranged.fires) == fires
    if policy == "allow":
        assert arranged == Arrangement((Go(),) * fires, tuple(found for found in there if found.held))
        return
    gone = {found.run_id for found in (*arranged.revoked, *arranged.stale)}
    before = [found for found in there if not found.held and found.run_id not in gone]
    going = sum(verdict == Go() for verdict in arranged.fires) + len(arranged.released)
    assert going <= max(max_active - len(before), 0)
    held = sum(found.held for found in there) - len(arranged.released)
    assert held + sum(isinstance(verdict, Hold) for verdict in arranged.fires) <= max(size, held)
    assert not set(arranged.released) & set(arranged.revoked)
