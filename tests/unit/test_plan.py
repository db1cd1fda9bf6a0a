"""A plan is a value: what it holds follows from the files and the table alone."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from taskd.reconcile.plan import Living, compare
from taskd.reconcile.render import as_json, lines
from taskd.source.yamlfile import FileReading, read_file


def file(path: str, **schedules: str) -> FileReading:
    """A file of schedules by name, each with the body of its mapping."""
    text = "".join(f"  {name}: {{{body}}}\n" for name, body in schedules.items())
    return read_file(f"schedules:\n{text}".encode(), path, "UTC")


def living(files: list[FileReading], **changed: Mapping[str, Any]) -> list[Living]:
    """The table as those files would leave it, but for `changed` attributes by name."""
    rows = []
    for new in (new for reading in files for new in reading.schedules):
        given: dict[str, Any] = {
            "uid": uuid4(),
            "name": new.spec.name,
            "version": 1,
            "owner": "file",
            "path": new.path,
            "line": new.line,
            "stale": None,
            "columns": new.spec.columns(),
        }
        rows.append(Living(**given | dict(changed.get(new.spec.name, {}))))
    return rows


EVERY_MINUTE = 'task: t, crontab: "* * * * *"'
EVERY_HOUR = 'task: t, crontab: "0 * * * *"'


def test_the_same_files_and_table_need_nothing() -> None:
    files = [file("a.yaml", one=EVERY_MINUTE), file("b.yaml", two="task: t, interval: 30s")]
    plan = compare(files, living(files))
    assert not plan.writes
    assert plan.unchanged == 2


def test_new_changed_and_gone_names() -> None:
    before = [file("a.yaml", kept=EVERY_MINUTE, changed=EVERY_MINUTE, gone=EVERY_MINUTE)]
    plan = compare([file("a.yaml", kept=EVERY_MINUTE, changed=EVERY_HOUR, new=EVERY_MINUTE)], living(before))
    assert [new.declared.spec.name for new in plan.creates] == ["new"]
    assert [(change.row.name, change.after["crontab"]) for change in plan.updates] == [
        ("changed", "0 * * * *")
    ]
    assert [gone.row.name for gone in plan.deletes] == ["gone"]
    assert plan.changes == 3


def test_a_broken_file_keeps_what_it_last_declared() -> None:
    good = [file("a.yaml", one=EVERY_MINUTE), file("b.yaml", two=EVERY_MINUTE)]
    broken = [read_file(b"schedules: {one: [", "a.yaml", "UTC"), file("b.yaml", two=EVERY_HOUR)]
    plan = compare(broken, living(good))
    assert not plan.deletes
    assert [change.row.name for change in plan.updates] == ["two"]
    assert [(mark.row.name, (mark.message or "")[:7]) for mark in plan.marks] == [("one", "a.yaml:")]


def test_a_mended_file_clears_the_mark() -> None:
    files = [file("a.yaml", one=EVERY_MINUTE)]
    plan = compare(files, living(files, one={"stale": "a.yaml:1:1: broken"}))
    assert [mark.message for mark in plan.marks] == [None]


def test_the_incumbent_keeps_a_name_that_two_files_claim() -> None:
    incumbent = [file("b.yaml", one=EVERY_MINUTE)]
    plan = compare([file("a.yaml", one=EVERY_HOUR), *incumbent], living(incumbent))
    assert not plan.updates
    assert [str(conflict) for conflict in plan.conflicts] == [
        "a.yaml:2:3: one: this name is declared in b.yaml:2 already: rename one of them"
    ]


def test_a_broken_incumbent_keeps_its_name_too() -> None:
    table = living([file("b.yaml", one=EVERY_MINUTE)])
    plan = compare([file("a.yaml", one=EVERY_HOUR), read_file(b"schedules: [", "b.yaml", "UTC")], table)
    assert not plan.updates
    assert len(plan.conflicts) == 1


def test_a_name_that_belongs_to_the_api_is_not_taken() -> None:
    files = [file("a.yaml", one=EVERY_HOUR)]
    table = living([file("b.yaml", one=EVERY_MINUTE)], one={"owner": "api", "path": None, "line": None})
    plan = compare(files, table)
    assert not plan.writes
    assert "belongs to the API" in str(plan.conflicts[0])


def test_a_schedule_that_moves_to_another_file_is_neither_deleted_nor_changed() -> None:
    plan = compare([file("b.yaml", one=EVERY_MINUTE)], living([file("a.yaml", one=EVERY_MINUTE)]))
    assert plan.changes == 0
    assert [move.declared.path for move in plan.moves] == ["b.yaml"]


def test_nothing_is_deleted_while_a_root_cannot_be_read() -> None:
    plan = compare([], living([file("a.yaml", one=EVERY_MINUTE)]), unreadable=True)
    assert not plan.deletes
    assert [held.row.name for held in plan.held] == ["one"]


def test_a_table_that_was_changed_behind_our_back_is_drift() -> None:
    files = [file("a.yaml", one=EVERY_MINUTE)]
    columns = files[0].schedules[0].spec.columns()
    plan = compare(files, living(files, one={"columns": columns | {"task": "other"}}))
    assert [(change.drift, change.before, change.after) for change in plan.updates] == [
        (True, {"task": "other"}, {"task": "t"})
    ]


def test_the_digest_stands_for_the_held_deletions_alone() -> None:
    table = living([file("a.yaml", one=EVERY_MINUTE)])
    held = compare([], table, unreadable=True)
    assert held.digest == compare([file("b.yaml", two=EVERY_MINUTE)], table, unreadable=True).digest
    assert held.digest != compare([], [], unreadable=True).digest


def test_a_plan_never_shows_secrets() -> None:
    before = [file("a.yaml", one=EVERY_MINUTE + ", kwargs: {db_password: old-one}")]
    plan = compare([file("a.yaml", one=EVERY_MINUTE + ", kwargs: {db_password: new-one}")], living(before))
    shown = str(list(lines(plan, {"password"}))) + str(as_json(plan, {"password"}))
    assert "kwargs" in shown
    assert "old-one" not in shown
    assert "new-one" not in shown
