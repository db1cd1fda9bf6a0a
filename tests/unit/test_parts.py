"""A large plan in parts: the same changes, files whole, no part larger than it must be."""

from hypothesis import given
from hypothesis import strategies as st

from taskd.reconcile.parts import in_parts
from taskd.reconcile.plan import Plan, compare
from taskd.source.yamlfile import FileReading
from tests.unit.test_plan import file, living

KINDS = ("creates", "updates", "moves", "deletes", "marks")
SIZE = 5

# By file, the intervals of its schedules, which are numbered through all files: so they move, too.
trees = st.lists(st.lists(st.integers(1, 3), max_size=7), max_size=6)


def tree(intervals: list[list[int]]) -> list[FileReading]:
    numbers = iter(range(100))
    return [
        file(f"{at}.yaml", **{f"s{next(numbers)}": f"task: t, interval: {every}" for every in of_file})
        for at, of_file in enumerate(intervals)
    ]


def files_of(plan: Plan) -> list[str]:
    declared = [change.declared.path for change in (*plan.creates, *plan.updates, *plan.moves)]
    return [*declared, *(gone.row.path or "" for gone in plan.deletes)]


@given(trees, trees)
def test_parts_are_the_plan_in_whole_files(before: list[list[int]], after: list[list[int]]) -> None:
    plan = compare(tree(after), living(tree(before)))
    parts = in_parts(plan, SIZE)
    for kind in KINDS:
        together = [change for part in parts for change in getattr(part, kind)]
        assert sorted(together, key=str) == sorted(getattr(plan, kind), key=str)
    paths = [set(files_of(part)) for part in parts]
    assert sum(map(len, paths)) == len(set().union(*paths))
    for part, of_part in zip(parts, paths, strict=True):
        assert len(files_of(part)) <= SIZE or len(of_part) == 1 or len(parts) == 1


def test_what_else_a_plan_says_is_in_its_last_part() -> None:
    broken = file("broken.yaml", x="task: t")
    after = [*tree([[1] * 4, [2] * 4]), broken]
    plan = compare(after, [])
    first, last = in_parts(plan, SIZE)
    assert (first.problems, last.problems) == ((), broken.problems)
    assert last.unchanged == plan.unchanged


def test_a_small_plan_is_one() -> None:
    plan = compare(tree([[1, 2], [3]]), [])
    assert in_parts(plan, SIZE) == [plan]
