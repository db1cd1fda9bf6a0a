"""The tail of a task's log: bounded, in whole lines, handed on only when it has grown; and what `log -f` adds."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.cli.tasklog import news
from taskd.worker import tasklog
from taskd.worker.tasklog import Tail


@given(st.lists(st.text(max_size=40), max_size=30), st.integers(20, 200))
def test_a_tail_is_the_end_in_whole_lines_within_its_size(entries: list[str], most: int) -> None:
    tail = Tail(most, lambda text: None)
    for entry in entries:
        tail.add(entry)
    text = tail.text() or ""
    assert len(text.encode()) <= most
    if entries and len(entries[-1].encode()) < most // 2 and "\n" not in entries[-1]:
        assert text.endswith("\n")


def test_one_record_that_is_too_long_keeps_its_end() -> None:
    tail = Tail(10, lambda text: None)
    tail.add("first")
    tail.add("x" * 20 + "end")
    assert tail.text() == "xxxxxxend\n"


def test_only_what_has_grown_is_handed_on() -> None:
    told: list[str] = []
    tail = Tail(100, told.append)
    tail.flush()
    tail.add("one")
    tail.flush()
    tail.flush()
    tail.add("two")
    tail.flush()
    assert told == ["one\n", "one\ntwo\n"]


def test_nothing_is_kept_where_nothing_may_be() -> None:
    request = SimpleNamespace()
    tasklog.begin(request, 0, lambda text: None)
    tasklog.end(request)
    assert tasklog.text_of(request) is None


@pytest.mark.parametrize(
    ("before", "now", "added"),
    [
        ("", "a\n", "a\n"),
        ("a\n", "a\nb\n", "b\n"),
        ("a\n", "a\n", ""),
        ("a\nb\n", "b\nc\n", "b\nc\n"),  # nothing long enough to be sure of
        ("x" * 300 + "\n", "x" * 250 + "\nnew\n", "new\n"),
        ("gone\n", "other\n", "other\n"),
    ],
)
def test_following_prints_what_is_new(before: str, now: str, added: str) -> None:
    assert news(before, now) == added
