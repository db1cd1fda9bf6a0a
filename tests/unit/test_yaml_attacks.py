"""No bytes at all make the reader raise, hang or expand: they become problems."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskd.source.nodes import FastestComposer, InvalidYaml, PythonComposer, compose
from taskd.source.yamlfile import MAX_PROBLEMS, read_file

VALID = b"""\
defaults: {timezone: Europe/Berlin, labels: {team: ops}}
schedules:
  daily: &d
    task: reports.daily
    crontab: "0 9 * * mon"
    args: [1, 2.5, "x", null, true]
  copy: *d
  once: {task: !!str t, date: 2026-12-31T23:30:00, kwargs: {a: {b: [0x10, 0o7]}}}
"""


def problems(data: bytes) -> list[str]:
    return [str(problem).removeprefix("f:") for problem in read_file(data, "f", "UTC").problems]


def laughs(levels: int, width: int) -> bytes:
    lines = ["x0: &x0 [lol]"]
    lines += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


def chained(levels: int) -> bytes:
    return "\n".join(["x0: &x0 []", *(f"x{n}: &x{n} [*x{n - 1}]" for n in range(1, levels))]).encode()


@pytest.fixture(params=[FastestComposer, PythonComposer])
def composer(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize(
    ("data", "line", "column", "sentence"),
    [
        (b"[" * 100_000, 1, 33, "is nested deeper than 32 levels"),
        (b"- " * 100_000, 1, 65, "is nested deeper than 32 levels"),
        (b"{a: " * 100_000, 1, 129, "is nested deeper than 32 levels"),
        (b"? " * 10_000, 1, 65, "is nested deeper than 32 levels"),
        (laughs(9, 9), 4, 5, "aliases expand the file to more than 10 times its size"),
        (laughs(9, 1000), 2, 5, "aliases expand the file to more than 10 times its size"),
        (chained(40), 33, 6, "is nested deeper than 32 levels with its aliases"),
        (chained(20_000), 33, 6, "is nested deeper than 32 levels with its aliases"),
        (b"schedules: &a [1, *a]", 1, 12, "contains itself through an alias"),
        (b"schedules: &a {b: {c: *a}}", 1, 12, "contains itself through an alias"),
        (b"a: \0", 1, 4, "control character U+0000: take it out"),
        (b"a: 1\nb: x\x1b[31m", 2, 5, "control character U+001B: take it out"),
        ("a: 1\nb: é\u2028c: 2".encode(), 2, 5, "control character U+2028: take it out"),
        ("a: \x85".encode(), 1, 4, "control character U+0085: take it out"),
        ("a: \ufeff".encode(), 1, 4, "control character U+FEFF: take it out"),
        (b"a: 1\nb: caf\xe9", 2, 7, "is not UTF-8: save it as UTF-8"),
        (b"a: \xed\xa0\x80", 1, 4, "is not UTF-8: save it as UTF-8"),
        ("a: 1".encode("utf-16"), 1, 1, "is encoded in UTF-16: save it as UTF-8"),
        ("\ufeffa: 1".encode("utf-16be"), 1, 1, "is encoded in UTF-16: save it as UTF-8"),
        ("a: 1".encode("utf-16le"), 1, 2, "control character U+0000: take it out"),
        ("\ufeffa: 1".encode("utf-32be"), 1, 1, "is encoded in UTF-32: save it as UTF-8"),
        (b"#" * (1024 * 1024 + 1), 1, 1, "is larger than 1 MiB: split it"),
    ],
)  # fmt: skip
def test_an_attack_is_one_error(data: bytes, line: int, column: int, sentence: str, composer: Any) -> None:
    with pytest.raises(InvalidYaml, match=f"^{re.escape(sentence)}$") as caught:
        compose(data, composer)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert problems(data) == [f"{line}:{column}: {sentence}"]


def test_the_limits_themselves_are_fine() -> None:
    assert compose(b"[" * 32 + b"]" * 32) is not None
    assert compose(chained(31)) is not None
    assert compose(b"#" * (1024 * 1024)) is None
    aliases = b"schedules:\n" + b"".join(
        b"  a%d: {task: t, interval: 9, args: %s}\n" % (n, b"*x" if n else b"&x [1, 2, 3]")
        for n in range(200)
    )
    assert problems(aliases) == []


def test_a_file_holds_10_000_schedules() -> None:
    lines = [b"  j%d: {task: t, interval: 9}\n" % n for n in range(10_001)]
    full = read_file(b"schedules:\n" + b"".join(lines[:-1]), "f", "UTC")
    assert (len(full.schedules), full.problems) == (10_000, ())
    assert problems(b"schedules:\n" + b"".join(lines)) == [
        "10002:3: a file declares at most 10000 schedules: split it"
    ]


@pytest.mark.timeout(5)
def test_huge_numbers_cost_nothing() -> None:
    data = b"schedules: {a: {task: t, interval: 9, args: [%s, 0x%s, 1e999]}}" % (
        b"9" * 400_000,
        b"f" * 400_000,
    )
    found = problems(data)
    assert [problem.split(": ", 1)[1] for problem in found] == [
        "a: an integer must fit in 64 bits: put it in quotes",
        "a: an integer must fit in 64 bits: put it in quotes",
        "a: args.2: inf is not a JSON value",
    ]  # fmt: skip


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "data",
    [
        b"\n".join(b"schedul%d:" % n for n in range(60_000)),
        b"schedules: {a: {%s}}" % b", ".join([b"a: 1"] * 100_000),
        b"schedules: {a: {%s}}" % b", ".join(b"crontab%d: 1" % n for n in range(60_000)),
        b"schedules: {%s}" % b", ".join(b"n%d: {timezone: Asia/Shangha%d}" % (n, n) for n in range(20_000)),
        b"schedules: {a: {task: t, interval: 9, args: [%s]}}" % b",".join([b".nan"] * 200_000),
        b"schedules: {a: {%s: 1, task: %s}}" % (b"k" * 500_000, b"t" * 500_000),
    ],
    ids=["unknown sections", "duplicates", "unknown keys", "unknown zones", "no JSON", "long names"],
)
def test_a_flood_of_errors_is_cut_off(data: bytes) -> None:
    found = problems(data)
    assert 0 < len(found) <= MAX_PROBLEMS + 1
    assert sum(map(len, found)) < 500_000


@given(st.binary(max_size=300))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    read_file(data, "f", "UTC")


@given(
    st.text(
        alphabet=st.sampled_from("schedules:defaults abtask&*!<>[]{},#|'\"%@`-?0129.e\n\t \\x~é"),
        max_size=200,
    )
)
def test_no_text_makes_it_raise(text: str) -> None:
    read_file(text.encode(), "f", "UTC")
    read_file(b"schedules:\n  a:\n    " + text.encode(), "f", "UTC")


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    data = bytearray(VALID)
    for _ in range(draw(st.integers(1, 5))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data[start:end] = draw(
            st.binary(max_size=4)
            | st.sampled_from([b"*d", b"<<", b"&d ", b"!!int ", b"[", b"\n", b": ", b""])
        )
    return bytes(data)


@settings(max_examples=300)
@given(mutations())
def test_no_mutated_file_makes_it_raise(data: bytes) -> None:
    reading = read_file(data, "f", "UTC")
    assert all(problem.line >= 1 and problem.column >= 1 for problem in reading.problems)
    assert reading.digest


@settings(max_examples=100)
@given(mutations() | st.binary(max_size=100))
def test_without_libyaml_nothing_else_is_raised(data: bytes) -> None:
    try:
        compose(data, PythonComposer)
    except InvalidYaml as error:
        assert str(error)  # noqa: PT017 (not raising at all is fine as well)
