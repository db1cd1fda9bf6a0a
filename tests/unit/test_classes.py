"""Quantiles from classes of seconds: as near as is promised, and the same from parts as from the whole."""

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.store.classes import ERROR, QUANTILES, number, quantiles

seconds = st.one_of(st.just(0.0), st.floats(1e-5, 1e7))


def classes(values: list[float]) -> Counter[int]:
    return Counter(n for n in map(number, values) if n is not None)


@given(st.lists(seconds, min_size=1))
def test_a_quantile_is_off_by_its_error_at_most(values: list[float]) -> None:
    in_order = sorted(values)
    found = quantiles(classes(values))
    for name, part in QUANTILES.items():
        exact = in_order[max(1, ceil(part * len(values))) - 1]
        assert found[name] == pytest.approx(exact, rel=ERROR * 1.001, abs=1e-6)


@given(st.lists(seconds), st.lists(seconds))
def test_parts_add_up_to_the_whole(one: list[float], other: list[float]) -> None:
    assert classes(one) + classes(other) == classes(one + other)


def test_nothing_has_no_quantiles_and_no_class() -> None:
    assert (quantiles(Counter()), number(None), number(-3)) == ({}, None, number(0))
