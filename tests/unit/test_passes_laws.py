"""Whatever happens to files, the table has the last valid content of each that a pass has seen, and never half of one."""

import shutil
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session

from taskd.config.models import PruneGuard
from taskd.errors import LeaseLost
from taskd.reconcile.reconciler import Reconciler
from taskd.source.tree import Tree
from taskd.store import schedules, schema
from taskd.store.database import Database

PATHS = ["a.yaml", "below/b.yaml", "c.yml"]

contents = st.dictionaries(st.integers(1, 4), st.integers(1, 3), min_size=1, max_size=4)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(PATHS), contents),
        st.tuples(st.just("break"), st.sampled_from(PATHS), st.sampled_from(["schedules: [", "scheduels: {}", "schedules: {x: 1}", "{}\nno: 1"])),
        st.tuples(st.just("drop half, with an error"), st.sampled_from(PATHS), contents),
        st.tuples(st.just("delete"), st.sampled_from(PATHS), st.none()),
        st.tuples(st.just("pass"), st.none(), st.none()),
        st.tuples(st.just("a pass that fails"), st.none(), st.none()),
        st.tuples(st.just("restart"), st.none(), st.none()),
    ),
    max_size=10,
)  # fmt: skip


class Site:
    """Files, a table, and what should be in it."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.root, self.database = folder / "schedules", database
        (self.root / "below").mkdir(parents=True)
        (self.root / "anchor.yaml").write_text("schedules: {anchor: {task: t, interval: 1}}")
        self.now: dict[str, dict[int, int] | None] = {}
        self.good: dict[str, dict[int, int]] = {}
        self.fails = False
        self.restart()

    def restart(self, *_: Any) -> None:
        self.reconciler = Reconciler(
            self.database,
            [Tree(self.root, "UTC")],
            poll=10,
            fence=self._fence,
            changed=lambda: None,
            guard=PruneGuard(min=100),
        )

    def _fence(self, _session: Session) -> None:
        if self.fails:
            raise LeaseLost("another process leads")

    def write(self, path: str, content: dict[int, int], more: str = "") -> None:
        lines = [f"  {Path(path).stem}{n}: {{task: t, interval: {every}}}\n" for n, every in content.items()]
        (self.root / path).write_text(f"schedules:\n{''.join(lines)}{more}")
        self.now[path] = None if more else content

    def spoil(self, path: str, text: str) -> None:
        (self.root / path).write_text(text)
        self.now[path] = None

    def delete(self, path: str) -> None:
        (self.root / path).unlink(missing_ok=True)
        self.now.pop(path, None)

    def make_pass(self) -> None:
        self.reconciler.one_pass()
        assert not self.reconciler.preview().writes
        self.good = {path: self.now[path] or self.good.get(path, {}) for path in self.now}

    def failing_pass(self) -> None:
        self.fails = True
        with suppress(LeaseLost):
            self.reconciler.one_pass()
        self.fails = False

    def table(self) -> dict[str, int | None]:
        return self.database.read(
            lambda session: {row.name: row.interval_seconds for row in session.scalars(schedules.living())}
        )

    def expected(self) -> dict[str, int]:
        files = {
            f"{Path(path).stem}{n}": every
            for path, content in self.good.items()
            for n, every in content.items()
        }
        return files | {"anchor": 1}


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with taskd's tables, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "taskd.db"
    database = Database(f"sqlite:///{file}")
    schema.upgrade(database)
    database.close()
    return file


@settings(max_examples=20)
@given(happening=steps)
def test_the_table_is_the_last_valid_content_of_each_file(
    migrated: Path, happening: list[tuple[str, Any, Any]]
) -> None:
    with TemporaryDirectory() as folder:
        shutil.copy(migrated, f"{folder}/taskd.db")
        database = Database(f"sqlite:///{folder}/taskd.db")
        site = Site(Path(folder), database)
        site.make_pass()
        for what, path, given_ in [*happening, ("pass", None, None)]:
            match what:
                case "write":
                    site.write(path, given_)
                case "break":
                    site.spoil(path, given_)
                case "drop half, with an error":
                    site.write(path, given_, more="nonsense: 1")
                case "delete":
                    site.delete(path)
                case "pass":
                    site.make_pass()
                case "a pass that fails":
                    site.failing_pass()
                    assert site.table() == site.expected(), what
                    site.make_pass()
                case "restart":
                    site.restart()
            assert site.table() == site.expected(), what
        database.close()
