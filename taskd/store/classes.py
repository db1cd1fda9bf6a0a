"""Seconds in classes, each 2 % wider than the one before: quantiles of millions from some hundred counts, 1 % off at most.

Class n holds what is above GROWTH ** (n - 1) and at most GROWTH ** n, and stands for the value that is at most ERROR away
from all of it, as in DDSketch (VLDB 2019). Counts of the same classes add up, so hours are made from minutes.
"""

import math
from collections import Counter
from typing import Any

from sqlalchemy import Integer
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

ERROR = 0.01
GROWTH = (1 + ERROR) / (1 - ERROR)
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_LEAST = 1e-6  # a run that began before its time, by another clock, was on time
_STEP = math.log(GROWTH)
ZERO = math.ceil(math.log(_LEAST) / _STEP)


def number(value: float | None) -> int | None:
    """The class of so many seconds."""
    if value is None:
        return None
    return ZERO if value <= _LEAST else math.ceil(math.log(value) / _STEP)


def quantiles(counts: Counter[int]) -> dict[str, float]:
    """By nearest rank; nothing of nothing."""
    return {
        name: _value(_at_rank(counts, part * counts.total())) for name, part in QUANTILES.items() if counts
    }


def _at_rank(counts: Counter[int], rank: float) -> int:
    passed = 0
    for each in sorted(counts):
        passed += counts[each]
        if passed >= rank:
            break
    return each


def _value(each: int) -> float:
    return 0.0 if each <= ZERO else round(2 * GROWTH**each / (GROWTH + 1), 6)


class class_of(FunctionElement[int]):  # noqa: N801  it reads as a function
    """The class of a number of seconds, found by the database."""

    type = Integer()
    inherit_cache = True


@compiles(class_of)
def _by_logarithm(element: Any, compiler: Any, **how: Any) -> str:
    value = compiler.process(element.clauses, **how)
    return f"CASE WHEN {value} <= {_LEAST} THEN {ZERO} ELSE CEIL(LN({value}) / {_STEP!r}) END"


@compiles(class_of, "sqlite")
def _by_python(element: Any, compiler: Any, **how: Any) -> str:
    return f"taskd_class({compiler.process(element.clauses, **how)})"  # not every SQLite has logarithms
