"""Whatever a task takes or returns becomes JSON that every database stores."""

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.worker.values import CUT, REPR, storable, storable_traceback

SIZE = 4096
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abcü", max_size=3), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.floats() | st.text(st.characters()) | st.binary() | st.integers() | st.datetimes() | st.complex_numbers(),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.integers() | st.text(st.characters()), inner),
    max_leaves=30,
)  # fmt: skip


@given(PLAIN)
def test_json_stays_as_it_is(value: Any) -> None:
    assert storable(value, 10**6) == value


@given(ANYTHING)
def test_anything_becomes_json_within_its_size(value: Any) -> None:
    text = json.dumps(storable(value, SIZE), ensure_ascii=False, allow_nan=False)
    assert len(text.encode()) < 2 * SIZE
    assert "\0" not in json.loads(text) if isinstance(json.loads(text), str) else True


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ((1, {2}), [1, [2]]),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.10"), "1.10"),
        (b"\x00", {REPR: "b'\\x00'"}),
        (float("nan"), {REPR: "nan"}),
        ("a\0b\ud800", "a\\x00b\\ud800"),
        ({1: {None: 2}}, {"1": {"None": 2}}),
    ],
)
def test_what_is_no_json_is_text_or_flagged(value: Any, stored: Any) -> None:
    assert storable(value, SIZE) == stored


def test_a_cycle_ends() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert storable(value, SIZE) == [1, {REPR: "[1, [...]]"}]


def test_an_object_whose_repr_fails_is_stored_all_the_same() -> None:
    class Bad:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert "Unrepresentable" in storable(Bad(), SIZE)[REPR]


def test_what_is_too_large_is_cut_and_says_how_large_it_was() -> None:
    stored = storable(["ü" * 10_000], 1000)
    assert stored["bytes"] == 20_004
    assert stored[CUT].startswith('["ü')
    assert len(json.dumps(stored, ensure_ascii=False).encode()) <= 1000


def test_a_long_traceback_keeps_its_end() -> None:
    stored = storable_traceback("x" * 100_000 + "ValueError: no")
    assert stored is not None
    assert stored.endswith("ValueError: no")
    assert len(stored) == 64 * 1024
