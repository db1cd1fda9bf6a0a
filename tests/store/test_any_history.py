"""Whatever happens to files, and however often taskd starts anew: the table is each file's last valid content."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from taskd.config.models import PruneGuard
from taskd.reconcile.reconciler import Reconciler
from taskd.source.tree import Tree
from taskd.store import schema
from taskd.store.database import Database
from taskd.store.tables import ScheduleRow

FILES = ("a", "b", "sub/c")
Step = tuple[str, str, int]

steps = st.lists(
    st.tuples(
        st.sampled_from(FILES),
        st.sampled_from(["valid", "valid", "broken", "half", "drift", "restart"]),
        st.integers(1, 5),
    ),
    max_size=8,
)


def content(file: str, number: int) -> dict[str, int]:
    """What the file's version of this number declares."""
    return {f"{file[-1]}{n}": number for n in range(number)}


def text(declared: dict[str, int]) -> str:
    return "schedules:\n" + "".join(
        f"  {name}: {{task: t, interval: {every}}}\n" for name, every in declared.items()
    )


def change(root: Path, step: Step, expected: dict[str, dict[str, int]]) -> None:
    file, what, number = step
    path = root / f"{file}.yaml"
    match what:
        case "valid":
            expected[file] = content(file, number)
            path.write_text(text(expected[file]))
        case "broken":
            # It names what it named before: what it leaves out for all to see would be held, not healed.
            path.write_text(text(dict.fromkeys(expected[file], number)) + "  wrong: {}\n")
        case "half":
            path.write_text(text(content(file, number))[:-5])


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
def test_the_table_is_the_last_valid_content_of_each_file(
    tmp_path_factory: pytest.TempPathFactory, history: list[Step]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    root = folder / "root"
    (root / "sub").mkdir(parents=True)
    database = Database(f"sqlite:///{folder}/taskd.db")
    schema.upgrade(database)
    expected: dict[str, dict[str, int]] = {file: {} for file in FILES}

    def start() -> Reconciler:
        guard = PruneGuard(min=100, percent=100)
        nothing = lambda *_: None  # noqa: E731
        return Reconciler(database, [Tree(root, "UTC")], poll=10, fence=nothing, changed=nothing, guard=guard)

    def table() -> dict[str, int | None]:
        query = select(ScheduleRow.name, ScheduleRow.interval_seconds).where(ScheduleRow.deleted_at.is_(None))
        return database.read(lambda session: dict(session.execute(query).all()))

    def meddle(session: Session) -> None:
        session.execute(update(ScheduleRow).values(interval_seconds=99))

    for file in FILES:
        expected[file] = content(file, 1)
        (root / f"{file}.yaml").write_text(text(expected[file]))
    reconciler, drifts = start(), 0
    reconciler.one_pass()
    for step in history:
        if step[1] == "restart":
            reconciler = start()
        elif step[1] == "drift" and drifts < 4:  # a fifth is a fight
            drifts += 1
            database.write(meddle)
        else:
            change(root, step, expected)
        reconciler.one_pass()
        assert table() == {name: every for declared in expected.values() for name, every in declared.items()}
        assert not reconciler.one_pass().plan.writes
    database.close()
