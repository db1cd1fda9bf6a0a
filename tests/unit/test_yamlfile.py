"""The reading rules of schedule files, and the exact place and sentence of each error."""

from datetime import UTC, datetime
from typing import Any

import pytest

from taskd.source.nodes import PythonComposer, compose
from taskd.source.values import Values
from taskd.source.yamlfile import FileReading, read_file


def read(text: str) -> FileReading:
    return read_file(text.encode(), "demo.yaml", "Asia/Shanghai")


def problems(text: str) -> list[str]:
    return [str(problem).removeprefix("demo.yaml:") for problem in read(text).problems]


def kwargs(text: str) -> Any:
    """What `kwargs: {x: …}` reads as."""
    reading = read(f"schedules:\n  a: {{task: t, interval: 9, kwargs: {{x: {text}}}}}\n")
    assert not reading.problems
    return reading.schedules[0].spec.kwargs["x"]


EXAMPLE = """\
defaults:
  timezone: Europe/Berlin
  queue: reports
  labels: {team: ops}
schedules:
  daily-report:
    task: reports.tasks.daily
    crontab: "0 9 * * *"
    args: [daily_report]
    kwargs: {param2: 100}
    description: Daily operations report
  heartbeat:
    task: taskd.tasks.http_check
    interval: 30s
    queue: quick
  每日报表任务:
    task: ledger.tasks.close
    date: 2026-12-31T23:30:00
    queue: null
"""


def test_a_file_declares_schedules_with_their_places() -> None:
    reading = read(EXAMPLE)
    assert reading.problems == ()
    assert not reading.broken
    assert [(d.spec.name, d.path, d.line, d.column) for d in reading.schedules] == [
        ("daily-report", "demo.yaml", 6, 3),
        ("heartbeat", "demo.yaml", 12, 3),
        ("每日报表任务", "demo.yaml", 16, 3),
    ]


def test_own_keys_win_over_defaults_and_null_takes_them_back() -> None:
    daily, heartbeat, close = (declared.spec for declared in read(EXAMPLE).schedules)
    assert [daily.queue, heartbeat.queue, close.queue] == ["reports", "quick", None]
    assert daily.labels == {"team": "ops"}
    assert close.start_time == datetime(2026, 12, 31, 22, 30, tzinfo=UTC)


def test_a_default_written_out_makes_no_difference() -> None:
    inherited = read("defaults: {queue: q, expires: 1m}\nschedules: {a: {task: t, interval: 9}}")
    written = read(
        "schedules: {a: {task: t, interval_seconds: 9, queue: q, expires: 60, args: [], enabled: true}}"
    )
    assert inherited.schedules[0].spec.fingerprint == written.schedules[0].spec.fingerprint
    assert inherited.digest != written.digest


def test_defaults_that_mean_nothing_to_a_trigger_are_not_inherited() -> None:
    reading = read("""
defaults: {day_match: and, start_time: 2026-01-01T00:00}
schedules:
  a: {task: t, interval: 9}
  b: {task: t, date: 2027-01-01T00:00}
  c: {task: t, crontab: "0 0 1 * 1"}
""")
    assert reading.problems == ()
    assert [d.spec.day_match for d in reading.schedules] == [None, None, "and"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True), ("false", False), ("null", None), ("~", None), ("", None),
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"), ("True", "True"), ("TRUE", "TRUE"),
        ("12:30", "12:30"), ("0777", "0777"), ("1_000", "1_000"), ("2026-12-31", "2026-12-31"),
        ("2026-12-31T23:30:00", "2026-12-31T23:30:00"), ("0b1", "0b1"), ("-", "-"), (".", "."), ("1.2.3", "1.2.3"),
        ("0", 0), ("-5", -5), ("+5", 5), ("0x1F", 31), ("0o17", 15), ("9223372036854775807", 2**63 - 1),
        ("1.5", 1.5), ("-.5", -0.5), ("1e3", 1000.0), ("1.", 1.0), ("6.02E+23", 6.02e23), ("=", "="),
        ("'1'", "1"), ('"true"', "true"), ("!!str 5", "5"), ("!!int '5'", 5), ("!!float 5", 5.0),
        ("!!bool 'true'", True), ("!!null ''", None), ("!!seq [1]", [1]), ("!!map {a: 1}", {"a": 1}),
        ('"<<"', "<<"), ("{'<<': 1}", {"<<": 1}), ("&a [1]", [1]), ("'\\u4e2d 中'", "\\u4e2d 中"),
    ],
)  # fmt: skip
def test_scalars_are_read_by_our_rules(text: str, value: Any) -> None:
    read_value = kwargs(text)
    assert read_value == value
    assert type(read_value) is type(value)


def test_an_alias_repeats_a_value() -> None:
    reading = read(
        "schedules:\n  a: {task: t, interval: 9, args: &x [1, {k: v}]}\n  b: {task: t, interval: 9, args: *x}\n"
    )
    assert [d.spec.args for d in reading.schedules] == [[1, {"k": "v"}]] * 2


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "schedules:\n", "schedules: {}\n", "defaults:\nschedules:\n", "~"]
)
def test_an_empty_file_declares_nothing(text: str) -> None:
    reading = read(text)
    assert (reading.schedules, reading.problems) == ((), ())


def test_a_byte_order_mark_moves_nothing() -> None:
    assert problems("\ufeffschedules: 3") == ["1:12: schedules must be a map of keys and values"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the file
        ("- a", ["1:1: a schedule file must be a map of keys and values"]),
        ("hello", ["1:1: a schedule file must be a map of keys and values"]),
        ("schedule: {}", ["1:1: unknown key 'schedule', did you mean 'schedules'?"]),
        ("a: {task: t}", ["1:1: unknown key 'a': a file has 'defaults' and 'schedules'"]),
        ("schedules: [a]", ["1:12: schedules must be a map of keys and values"]),
        ("defaults: x\n", ["1:11: defaults must be a map of keys and values"]),
        ("a: 1\n---\nb: 1", ["2:1: a second document begins here: one file is one document"]),
        # syntax
        ("schedules:\n  a:\n    crontab: * * * * *", ["3:14: a value that begins with * must be in quotes"]),
        ("schedules:\n  a:\n    crontab: */5 * * * *", ["3:14: a value that begins with * must be in quotes"]),
        ("schedules:\n  a:\n    crontab: @daily", ["3:14: a value that begins with @ must be in quotes"]),
        ("schedules:\n\ta: 1", ["2:1: indent with spaces, not tabs"]),
        ("a: [1\nb: 2", ["2:2: did not find expected ',' or ']' while parsing a flow sequence that begins on line 1"]),
        ("a: b: c", ["1:5: mapping values are not allowed in this context"]),
        ("a: *b", ["1:4: found undefined alias"]),
        # keys
        ("schedules: {}\nschedules: {}", ["2:1: duplicate key 'schedules', first given on line 1"]),
        ("schedules:\n  a: {task: t, interval: 9}\n  a: {task: t, interval: 9}", ["3:3: duplicate key 'a', first given on line 2"]),
        ("schedules:\n  é: {task: t, interval: 9}\n  e\u0301: {task: t, interval: 9}", ["3:3: e\u0301: is the same name as on line 2"]),
        ("schedules:\n  a: {task: t, interval: 9,\n      task: u}", ["3:7: a: duplicate key 'task', first given on line 2"]),
        ("schedules:\n  a: {task: t, interval: 9, <<: {queue: q}}", ["2:29: a: merge keys aren't supported: what schedules share goes into defaults"]),
        ("schedules:\n  a: {task: t, interval: 9, kwargs: {1: x}}", ["2:38: a: a key must be a string: put it in quotes"]),
        ("schedules:\n  a: {task: t, interval: 9, kwargs: {[1]: x}}", ["2:38: a: a key must be a string: put it in quotes"]),
        ("schedules:\n  true: {task: t, interval: 9}", ["2:3: a key must be a string: put it in quotes"]),
        # values
        ("schedules:\n  a: {task: t, interval: 9, args: [!!python/name:os.system x]}", ["2:36: a: the tag !!python/name:os.system can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!x y]}", ["2:36: a: the tag !x can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!!int x]}", ["2:36: a: the tag !!int can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!!str [x]]}", ["2:36: a: the tag !!str can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!!map [x]]}", ["2:36: a: the tag !!map can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!<plain> [x]]}", ["2:36: a: the tag plain can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!<plain> 5]}", ["2:36: a: the tag plain can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [!!int true]}", ["2:36: a: the tag !!int can't be used here: write a plain value"]),
        ("schedules: {é: {task: t, interval: 9}, e\u0301: {task: t, interval: 9}}", ["1:40: e\u0301: is the same name as on line 1"]),
        ("schedules: !!set {a}", ["1:12: the tag !!set can't be used here: write a plain value"]),
        ("schedules:\n  a: {task: t, interval: 9223372036854775808}", ["2:26: a: an integer must fit in 64 bits: put it in quotes"]),
        ("schedules:\n  a: {task: t, interval: 9, args: [.inf, 1]}", ["2:36: a: args.0: inf is not a JSON value"]),
        ("schedules:\n  a: {task: t, interval: 9, kwargs: {b: [1, .nan]}}", ["2:45: a: kwargs.b.1: nan is not a JSON value"]),
        ('schedules:\n  a: {task: t, interval: 9, args: ["\\0"]}', ["2:36: a: args.0: text with a NUL character or half of a surrogate pair can't be kept"]),
        # schedules
        ("schedules:\n  a:\n", ["2:5: a: must be a map of keys, with a task and a trigger"]),
        ("schedules:\n  a: 5\n", ["2:6: a: must be a map of keys, with a task and a trigger"]),
        ("schedules:\n  a: {}\n", ["2:3: a: task: is missing: every schedule needs it", "2:3: a: no trigger: give crontab, interval or date"]),
        ("schedules:\n  all: {task: t, interval: 9}\n", ["2:3: all: name: 'all' stands for every schedule: choose another name"]),
        ("schedules:\n  a: {task: t, interval: 9, name: b}\n", ["2:29: a: name: can't be given here, the name is the key above"]),
        ("schedules:\n  a: {task: t, intervall: 9}\n", ["2:3: a: no trigger: give crontab, interval or date", "2:16: a: intervall: unknown key, did you mean 'interval'?"]),
        ("schedules:\n  a: {task: t, interval: 9, retry: often}\n", ["2:36: a: retry: is how often to try again, such as 3, or a map: {max: 3, backoff: 10s}"]),
        ("schedules:\n  a: {task: t, interval: 9, retry: {maks: 3}}\n", ["2:37: a: retry.maks: unknown key: use max, backoff, backoff_max, jitter, on_worker_lost"]),
        ("schedules:\n  a: {task: t, interval: 9, enabled: yes}\n", ["2:38: a: enabled: must be true or false, not 'yes'"]),
        ("schedules:\n  a: {task: t, interval: 9, enabled: True}\n", ["2:38: a: enabled: must be true or false, not 'True'"]),
        ("schedules:\n  a: {task: t, interval: 9, schedule_type: on}\n", ["2:44: a: schedule_type: must be 'crontab', 'interval' or 'date', not 'on'"]),
        ("schedules:\n  a: {task: t, crontab: 0 0 30 2 *}\n", ["2:25: a: crontab '0 0 30 2 *' never occurs: no such day comes in any year"]),
        ("schedules:\n  a: {task: t, crontab: 0 0 1 1 *, interval: 3}\n", ["2:36: a: interval: is a second trigger beside crontab: keep one"]),
        ("schedules:\n  a: {task: t, interval: 9, timezone: Asia/Shangai}\n", ["2:39: a: timezone: unknown time zone 'Asia/Shangai', did you mean 'Asia/Shanghai'?"]),
        ("schedules:\n  a: {task: t, interval: 9, labels: {a: 1}}\n", ["2:41: a: labels.a: must be a string, not 1: put it in quotes"]),
        ("schedules:\n  a: {task: t, interval: 9, labels: {'a:': b}}\n", ["2:38: a: labels.a:: a label's key is 1 to 63 printable characters without ':'"]),
        # defaults
        ("defaults: {task: t, interval: 9}", ["1:12: task: can't be a default, each schedule has its own", "1:21: interval: can't be a default, each schedule has its own"]),
        ("defaults: {qeue: q}", ["1:12: qeue: unknown key, did you mean 'queue'?"]),
        ("defaults: {priority: 999}\nschedules:\n  a: {task: t, interval: 9}\n  b: {task: t, interval: 9}", ["1:22: priority: must be at most 255, not 999"]),
        ("defaults: {time_limit: 5s}\nschedules:\n  a: {task: t, interval: 9, soft_time_limit: 5s}", ["3:46: a: soft_time_limit: must be shorter than time_limit (5s), which kills the worker process"]),
        ("defaults: {soft_time_limit: 5s}\nschedules:\n  a: {task: t, interval: 9, time_limit: 5s}", ["1:29: a: soft_time_limit: must be shorter than time_limit (5s), which kills the worker process"]),
    ],
)  # fmt: skip
def test_each_error_has_its_place_and_sentence(text: str, expected: list[str]) -> None:
    assert problems(text) == expected
    assert read(text).broken


def test_all_errors_of_a_file_come_at_once_in_its_order() -> None:
    assert problems("""\
defaults:
  timezone: Mars/Olympus
schedules:
  a: {task: 1, interval: soon, retry: -2}
  b: {task: t, interval: 9, kwargs: {<<: x}}
  c: {task: t, interval: 9}
  7: {}
""") == [
        "2:13: timezone: unknown time zone 'Mars/Olympus': use an IANA name such as 'Europe/Berlin'",
        "4:13: a: task: must be a string, not 1: put it in quotes",
        "4:26: a: interval: a duration is written like 30s, 5m, 1h30m, 2d, PT30S, or as whole seconds",
        "4:39: a: retry: must be at least 0, not -2",
        "5:38: b: merge keys aren't supported: what schedules share goes into defaults",
        "7:3: a key must be a string: put it in quotes",
    ]  # fmt: skip


def test_a_day_as_interval_is_a_warning_and_the_schedule_stands() -> None:
    reading = read("schedules:\n  a: {task: t, interval: 24h}\n  b: {task: t, interval: 25h}\n")
    [problem] = reading.problems
    assert problem.severity == "warning"
    assert str(problem) == (
        "demo.yaml:2:26: a: interval: counts elapsed time, not the wall clock: use a crontab for a time of day"
    )
    assert not reading.broken
    assert len(reading.schedules) == 2


def test_without_libyaml_the_same_is_read() -> None:
    for text in (EXAMPLE, "a: [1, {b: 'c'}, !!str 3, 0x10]\nd: |\n  text\n", "{a: &x [1], b: *x}"):
        roots = compose(text.encode()), compose(text.encode(), PythonComposer)
        assert roots[0] is not None
        assert roots[1] is not None
        assert Values().read(roots[0]) == Values().read(roots[1])


@pytest.mark.parametrize(
    ("keys", "warnings"),
    [
        (
            "crontab: '*/30 2 * * *'",
            ["crontab: the clocks skip 02:00 and 1 more: nothing fires that day; dst: {gap: run_after} makes up for it"],
        ),
        ("crontab: '30 2 * * *'", []),
        ("crontab: '*/30 2 * * *', dst: {gap: run_after}", []),
        ("crontab: '*/30 2 * * *', timezone: Asia/Shanghai", []),
        ("crontab: '*/30 2-3 * * *'", []),
        (
            "crontab: '30 2 * * *', dst: {gap: skip}",
            ["crontab: the clocks skip 02:30: nothing fires that day; dst: {gap: run_after} makes up for it"],
        ),
        (
            "crontab: '0 9 * * *', jitter: 10m, expires: 5m",
            ["expires: 300s is shorter than the jitter, 600s: it counts from the delayed start"],
        ),
        ("crontab: '0 9 * * *', jitter: 10m, expires: 10m", []),
    ],
)  # fmt: skip
def test_what_runs_otherwise_than_one_may_think_is_a_warning(keys: str, warnings: list[str]) -> None:
    reading = read(f"defaults: {{timezone: Europe/Berlin}}\nschedules:\n  a: {{task: t, {keys}}}\n")
    assert [problem.message for problem in reading.problems] == warnings
    assert len(reading.schedules) == 1
    assert not reading.broken


def test_policies_are_defaults_of_a_file_where_they_fit() -> None:
    reading = read(
        "defaults: {overlap: skip, jitter: 1m, dst: {gap: skip}}\n"
        "schedules:\n"
        "  a: {task: t, crontab: '30 9 * * *', overlap: {policy: buffer, size: 2}}\n"
        "  b: {task: t, interval: 1h, jitter: 0}\n"
    )
    assert reading.problems == ()
    first, second = (declared.spec.columns()["policy"] for declared in reading.schedules)
    assert first == {"overlap": {"policy": "buffer", "size": 2}, "jitter": 60, "dst": {"gap": "skip"}}
    assert second == {"overlap": {"policy": "skip"}}


def test_an_error_inside_a_policy_is_reported_at_its_place() -> None:
    text = "schedules:\n  a:\n    task: t\n    interval: 9\n    catchup:\n      windw: 1h\n      policy: al\n"
    assert problems(text) == [
        "6:7: a: catchup.windw: unknown key, did you mean 'window'?",
        "7:15: a: catchup.policy: must be 'none', 'latest' or 'all', not 'al', did you mean 'all'?",
    ]
