import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from taskd.errors import InvalidSchedule
from taskd.schedule.duration import LONGEST, seconds_of
from taskd.schedule.faults import faults_of
from taskd.schedule.spec import (
    ScheduleSpec,
    declared_keys,
    timing_changed,
    trigger_of,
    uid_of,
)
from taskd.schedule.trigger import Crontab, Date, Dst, Interval

# The table "Keys of a schedule" of the format, with what is accepted beside it.
FORMAT = ["task", "crontab", "interval", "interval_seconds", "date", "timezone", "args", "kwargs", "description", "enabled", "start_time", "end_time", "one_off", "max_run_count", "catchup", "overlap", "jitter", "dst", "day_match", "retry", "pause_after_failures", "queue", "exchange", "routing_key", "priority", "headers", "expires", "time_limit", "soft_time_limit", "replaces", "labels", "schedule_type"]  # fmt: skip

DECLARED_COLUMNS = ["task", "schedule_type", "crontab", "interval_seconds", "start_time", "end_time", "timezone", "args", "kwargs", "description", "enabled", "one_off", "max_run_count", "options", "policy", "labels", "fingerprint"]  # fmt: skip


def spec(**keys: Any) -> ScheduleSpec:
    trigger = (
        {}
        if keys.keys() & {"crontab", "interval", "interval_seconds", "date", "start_time"}
        else {"interval": 60}
    )
    return ScheduleSpec.read({"name": "a", "task": "t", **trigger, **keys}, "Asia/Shanghai")


def faults(**keys: Any) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        spec(**keys)
    return [str(fault) for fault in faults_of(caught.value)]


def test_model_and_format_have_the_same_keys() -> None:
    assert sorted(declared_keys()) == sorted(FORMAT)


def test_columns_are_exactly_the_declared_ones() -> None:
    assert sorted(spec().columns()) == sorted(DECLARED_COLUMNS)


def test_an_interval_becomes_seconds() -> None:
    made = spec(interval="1h30m").columns()
    assert (made["schedule_type"], made["interval_seconds"], made["crontab"]) == ("interval", 5400, None)


def test_a_date_is_kept_as_start_time_whichever_way_it_is_written() -> None:
    at = datetime(2026, 12, 31, 15, 30, tzinfo=UTC)
    short = spec(date="2026-12-31T23:30:00")
    long = spec(schedule_type="date", start_time="2026-12-31T23:30:00")
    assert short.columns() == long.columns()
    assert (short.schedule_type, short.start_time, short.trigger) == ("date", at, Date(at))


@pytest.mark.parametrize(
    "written",
    ["2026-12-31T23:30:00", "2026-12-31 23:30", "2026-12-31T23:30:00.000+08:00", "2026-12-31T15:30:00Z"],
)
def test_datetimes_are_read_in_the_zone_or_with_their_offset(written: Any) -> None:
    assert spec(start_time=written, interval=60).start_time == datetime(2026, 12, 31, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("PT30S", 30), ("P1DT1H", 90_000), (7, 7), ("P2D", 172_800)],
)  # fmt: skip
def test_durations(written: Any, seconds: Any) -> None:
    assert seconds_of(written) == seconds


@pytest.mark.parametrize(
    "written", ["", "P", "PT", "1x", "30", "1.5h", "m", "s30", "1s1m", "-1s", "P1S", 1.0, True, None, [1], "１s", "9" * 99]
)  # fmt: skip
def test_what_is_no_duration(written: Any) -> None:
    with pytest.raises(InvalidSchedule, match="a duration is written like"):
        seconds_of(written)


@pytest.mark.parametrize("written", [0, -1, "0s", LONGEST + 1, "9999999999d"])
def test_durations_out_of_range(written: Any) -> None:
    with pytest.raises(InvalidSchedule, match="between 1s and 50 years"):
        seconds_of(written)


def test_triggers_are_values() -> None:
    assert spec(interval="5m", start_time="2026-01-01T00:00Z").trigger == Interval(
        300, datetime(2026, 1, 1, tzinfo=UTC)
    )
    assert spec(crontab=" 0  9 * * * ", day_match="and").trigger == Crontab(
        "0 9 * * *", "Asia/Shanghai", "and"
    )


def test_h_is_hashed_from_the_uid_of_the_row() -> None:
    mine = spec(crontab="H 3 * * *")
    assert mine.columns()["crontab"] == "H 3 * * *"
    assert mine.trigger == trigger_of({**mine.columns(), "uid": uid_of("a")}) != trigger_of(mine.columns())
    assert mine.trigger != spec(name="b", crontab="H 3 * * *").trigger


def test_the_uid_depends_only_on_the_normalised_name() -> None:
    assert uid_of("caf\u00e9") == uid_of("cafe\u0301") == UUID("14412dd6-94d7-5870-a7dc-0fa4dcdfaa65")


def test_what_is_left_out_equals_the_default_spelled_out() -> None:
    defaults = {
        "args": [], "kwargs": {}, "description": None, "enabled": True, "one_off": False, "max_run_count": 0,
        "labels": {}, "headers": {}, "queue": None, "end_time": None, "timezone": "Asia/Shanghai",
        "schedule_type": "crontab", "day_match": "or",
    }  # fmt: skip
    assert spec(crontab="0 9 * * *", **defaults).columns() == spec(crontab="0 9 * * *").columns()


@pytest.mark.parametrize(
    "keys",
    [{"date": "2026-12-31T23:30:00.25"}, {"interval": "1h", "start_time": "2026-01-01T00:00", "queue": "q"},
     {"crontab": "0 0 */2 * mon", "day_match": "or", "labels": {"a": "b"}, "headers": {"a": [1]}}],
)  # fmt: skip
def test_a_spec_written_as_json_reads_back_the_same(keys: Any) -> None:
    written = json.loads(spec(**keys).model_dump_json())
    assert ScheduleSpec.read(written, "UTC") == spec(**keys)


@pytest.mark.parametrize(
    "edit",
    [{"task": "u"}, {"interval": 61}, {"timezone": "UTC"}, {"args": [1]}, {"queue": "q"}, {"labels": {"a": "b"}},
     {"enabled": False}, {"kwargs": {"a": 1}}, {"expires": 1}, {"description": "d"}, {"max_run_count": 1},
     {"catchup": "all"}, {"overlap": "skip"}, {"jitter": "5m"}, {"pause_after_failures": 1}],
)  # fmt: skip
def test_every_edit_changes_the_fingerprint(edit: Any) -> None:
    assert spec(**edit).fingerprint != spec().fingerprint


def test_the_fingerprint_is_of_the_declaration_not_of_the_name_or_the_order() -> None:
    assert spec(name="b", kwargs={"a": 1, "b": 2}).fingerprint == spec(kwargs={"b": 2, "a": 1}).fingerprint


def test_options_hold_only_what_was_given_with_durations_in_seconds() -> None:
    assert spec().columns()["options"] == {}
    assert spec(queue="q", expires="1m", time_limit="1h", priority=0).columns()["options"] == {
        "queue": "q", "expires": 60, "time_limit": 3600, "priority": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "policy"),
    [
        ({"catchup": "latest"}, {}),
        ({"catchup": {"policy": "latest", "window": "1h"}}, {}),
        ({"catchup": "none"}, {"catchup": {"policy": "none"}}),
        ({"catchup": {"window": "6h"}}, {"catchup": {"window": 21600}}),
        ({"catchup": {"policy": "all", "max": 5}}, {"catchup": {"policy": "all", "max": 5}}),
        ({"overlap": "allow"}, {}),
        ({"overlap": {"policy": "allow", "max_active": 1}}, {}),
        ({"overlap": "terminate"}, {"overlap": {"policy": "terminate"}}),
        (
            {"overlap": {"policy": "buffer", "size": 3, "max_active": 2, "stale_after": "2h"}},
            {"overlap": {"policy": "buffer", "size": 3, "max_active": 2, "stale_after": 7200}},
        ),
        ({"jitter": 0}, {}),
        ({"jitter": "0s"}, {}),
        ({"jitter": "5m"}, {"jitter": 300}),
        ({"crontab": "30 2 * * *", "dst": {}}, {}),
        ({"crontab": "30 2 * * *", "dst": {"gap": "run_after", "overlap": "first"}}, {}),
        ({"crontab": "30 2 * * *", "dst": {"gap": "skip"}}, {"dst": {"gap": "skip"}}),
        ({"crontab": "*/5 * * * *", "dst": {"gap": "skip", "overlap": "first"}}, {"dst": {"overlap": "first"}}),
        ({"pause_after_failures": 3}, {"pause_after_failures": 3}),
    ],
)  # fmt: skip
def test_the_policy_holds_what_differs_from_the_defaults(keys: Any, policy: Any) -> None:
    assert spec(**keys).columns()["policy"] == policy
    assert ScheduleSpec.read(json.loads(spec(**keys).model_dump_json()), "UTC") == spec(**keys)


def test_dst_is_part_of_the_trigger() -> None:
    assert spec(crontab="30 2 * * *", dst={"gap": "skip"}).trigger == Crontab(
        "30 2 * * *", "Asia/Shanghai", dst=Dst(gap="skip")
    )


def test_an_edit_of_the_timing_is_told_from_one_of_the_arguments() -> None:
    before = spec(crontab="0 9 * * *").columns()
    for edit in ({"crontab": "0 8 * * *"}, {"timezone": "UTC"}, {"end_time": "2030-01-01T00:00"}, {"one_off": True},
                 {"max_run_count": 3}, {"start_time": "2020-01-01T00:00"}, {"day_match": "and"}, {"dst": {"gap": "skip"}}):  # fmt: skip
        assert timing_changed(before, spec(**{"crontab": "0 9 * * *", **edit}).columns()), edit
    for edit in ({"args": [1]}, {"queue": "q"}, {"labels": {"a": "b"}}, {"enabled": False}, {"task": "u"},
                 {"jitter": "5m"}, {"catchup": "all"}, {"overlap": "skip"}, {"pause_after_failures": 2}):  # fmt: skip
        assert not timing_changed(before, spec(crontab="0 9 * * *", **edit).columns()), edit


def test_a_stored_rows_uid_is_no_edit_of_the_timing() -> None:
    stored = {**spec(crontab="H 9 * * *").columns(), "uid": uid_of("a")}
    assert not timing_changed(stored, spec(crontab="H 9 * * *").columns())


def test_the_zone_of_an_interval_is_no_timing() -> None:
    assert not timing_changed(spec().columns(), spec(timezone="UTC").columns())


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"name": ""}, "name: a name has 1 to 128 characters"),
        ({"name": "x" * 129}, "name: a name has 1 to 128 characters"),
        ({"name": "a/b"}, "name: a name stands in URLs: it can't contain '/' or be '.' or '..'"),
        ({"name": ".."}, "name: a name stands in URLs: it can't contain '/' or be '.' or '..'"),
        ({"name": "a\nb"}, "name: a name is made of printable characters, with no space at its ends"),
        ({"name": " a"}, "name: a name is made of printable characters, with no space at its ends"),
        ({"name": "123"}, "name: a name of digits only looks like an id: add a letter"),
        ({"name": "١٢"}, "name: a name of digits only looks like an id: add a letter"),
        ({"name": "all"}, "name: 'all' stands for every schedule: choose another name"),
        ({"task": None}, "task: is missing: every schedule needs it"),
        ({"task": 5}, "task: must be a string, not 5: put it in quotes"),
        ({"task": ""}, "task: must be 1 to 255 bytes long"),
        ({"task": "a\tb"}, "task: must be printable characters only"),
        ({"timezone": "Asia/Shangai"}, "timezone: unknown time zone 'Asia/Shangai', did you mean 'Asia/Shanghai'?"),
        ({"timezone": "x" * 65}, "timezone: a time zone is an IANA name such as 'Europe/Berlin'"),
        ({"schedule_type": "crontab"}, "schedule_type: says crontab but the trigger is interval: keep one"),
        ({"schedule_type": "intervall"}, "schedule_type: must be 'crontab', 'interval' or 'date', not 'intervall', did you mean 'interval'?"),
        ({"schedule_type": []}, "schedule_type: must be 'crontab', 'interval' or 'date', not a list"),
        ({"interval": None}, "no trigger: give crontab, interval or date"),
        ({"interval": 1, "crontab": "* * * * *"}, "interval: is a second trigger beside crontab: keep one"),
        ({"interval": 1, "date": "2026-01-01T00:00"}, "date: is a second trigger beside interval: keep one"),
        ({"interval": 1, "interval_seconds": 1}, "interval_seconds: means the same as interval: keep one of them"),
        ({"date": "2026-01-01T00:00", "start_time": "2026-01-01T00:00"}, "start_time: means the same as date: keep one of them"),
        ({"interval": "soon"}, "interval: a duration is written like 30s, 5m, 1h30m, 2d, PT30S, or as whole seconds"),
        ({"expires": 0}, "expires: a duration must be between 1s and 50 years"),
        ({"crontab": "0 0 30 2 *"}, "crontab '0 0 30 2 *' never occurs: no such day comes in any year"),
        ({"crontab": 5}, "crontab: must be a string, not 5: put it in quotes"),
        ({"day_match": "or"}, "day_match: is for crontabs only"),
        ({"crontab": "@daily", "day_match": "nd"}, "day_match: must be 'or' or 'and', not 'nd', did you mean 'and'?"),
        ({"date": "2026-03-29T02:30", "timezone": "Europe/Berlin"}, "date: 2026-03-29T02:30:00 doesn't exist in Europe/Berlin: the clocks skip it; give an offset or another time"),
        ({"date": "2026-10-25T02:30", "timezone": "Europe/Berlin"}, "date: 2026-10-25T02:30:00 happens twice in Europe/Berlin: write 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"),
        ({"date": "2026-02-30T00:00"}, "date: '2026-02-30T00:00' is not in the calendar: day is out of range for month"),
        ({"date": "2026-12-31"}, "date: a point in time is written like 2026-12-31T23:30:00, from 1970 to 2999"),
        ({"date": "9999-12-31T23:59-12:00"}, "date: a point in time is written like 2026-12-31T23:30:00, from 1970 to 2999"),
        ({"date": 20261231}, "date: a point in time is written like 2026-12-31T23:30:00, from 1970 to 2999"),
        ({"interval": 9, "start_time": "2026-01-02T00:00Z", "end_time": "2026-01-01T00:00Z"}, "end_time: is before the start, 2026-01-02T00:00:00+00:00"),
        ({"args": {"a": 1}}, "args: must be a list, not a map"),
        ({"kwargs": [1]}, "kwargs: must be a map of keys and values, not a list"),
        ({"args": [1, [float("nan")]]}, "args.1.0: nan is not a JSON value"),
        ({"args": [2**63]}, "args.0: an integer must fit in 64 bits: write it as a string"),
        ({"kwargs": {"a": {1: 2}}}, "kwargs.a: the key 1 is not a string: put it in quotes"),
        ({"kwargs": {"a": b""}}, "kwargs.a: a bytes is not a JSON value"),
        ({"kwargs": {"a": "\0"}}, "kwargs.a: text with a NUL character or half of a surrogate pair can't be kept"),
        ({"headers": {"a": "\ud800"}}, "headers.a: text with a NUL character or half of a surrogate pair can't be kept"),
        ({"description": "\0"}, "description: text with a NUL character or half of a surrogate pair can't be kept"),
        ({"enabled": "yes"}, "enabled: must be true or false, not 'yes'"),
        ({"one_off": 1}, "one_off: must be true or false, not 1"),
        ({"max_run_count": -1}, "max_run_count: must be at least 0, not -1"),
        ({"max_run_count": 1.0}, "max_run_count: must be a whole number, not 1.0"),
        ({"max_run_count": True}, "max_run_count: must be a whole number, not true"),
        ({"priority": 256}, "priority: must be at most 255, not 256"),
        ({"queue": "q" * 256}, "queue: must be 1 to 255 bytes long"),
        ({"time_limit": "1m", "soft_time_limit": 60}, "soft_time_limit: must be shorter than time_limit (60s), which kills the worker process"),
        ({"catchup": "al"}, "catchup: must be 'none', 'latest' or 'all', not 'al', did you mean 'all'?"),
        ({"catchup": []}, "catchup: must be 'none', 'latest' or 'all', not a list"),
        ({"catchup": {"windw": 1}}, "catchup.windw: unknown key, did you mean 'window'?"),
        ({"catchup": {"xyzzy": 1}}, "catchup.xyzzy: unknown key: use policy, window, max"),
        ({"catchup": {"policy": "lates"}}, "catchup.policy: must be 'none', 'latest' or 'all', not 'lates', did you mean 'latest'?"),
        ({"catchup": {"window": 0}}, "catchup.window: a duration must be between 1s and 50 years"),
        ({"catchup": {"policy": "all", "max": 1001}}, "catchup.max: must be at most 1000, not 1001"),
        ({"catchup": {"max": 2}}, "catchup: max is for policy all, and this is latest: take it out"),
        ({"overlap": "skp"}, "overlap: must be 'allow', 'skip', 'buffer', 'cancel' or 'terminate', not 'skp', did you mean 'skip'?"),
        ({"overlap": {"max_active": 2}}, "overlap: policy allow lets every run go: choose skip, buffer, cancel or terminate"),
        ({"overlap": {"policy": "skip", "max_active": "2"}}, "overlap.max_active: must be a whole number, not '2'"),
        ({"overlap": {"policy": "skip", "size": 2}}, "overlap: size is for policy buffer, and this is skip: take it out"),
        ({"overlap": {"policy": "buffer", "size": 101}}, "overlap.size: must be at most 100, not 101"),
        ({"overlap": {"policy": "cancel", "stale_after": 9}}, "overlap: stale_after is for skip and buffer: cancel waits for nothing, take it out"),
        ({"jitter": False}, "jitter: a duration is written like 30s, 5m, 1h30m, 2d, PT30S, or as whole seconds"),
        ({"dst": {"gap": "skip"}}, "dst: is for crontabs only"),
        ({"crontab": "@daily", "dst": "skip"}, "dst: must be a map of keys and values, not 'skip'"),
        ({"crontab": "@daily", "dst": {"gap": "run"}}, "dst.gap: must be 'run_after' or 'skip', not 'run'"),
        ({"crontab": "@daily", "dst": {"gab": "skip"}}, "dst.gab: unknown key, did you mean 'gap'?"),
        ({"retry": True}, "retry: is how often to try again, such as 3, or a map: {max: 3, backoff: 10s}"),
        ({"retry": 1001}, "retry: must be at most 1000, not 1001"),
        ({"retry": {"jitter": 1}}, "retry.jitter: must be true or false, not 1"),
        ({"retry": {"max": 0, "backoff": 1, "on_worker_lost": True}}, "retry: max 0 tries nothing again: take the other keys out"),
        ({"retry": {"backoff": "1h"}}, "retry: backoff is longer than backoff_max (600s)"),
        ({"pause_after_failures": 0}, "pause_after_failures: must be at least 1, not 0"),
        ({"labels": {"a": 1}}, "labels.a: must be a string, not 1: put it in quotes"),
        ({"labels": {"a:b": "c"}}, "labels.a:b: a label's key is 1 to 63 printable characters without ':'"),
        ({"labels": {1: "c"}}, "labels.1: must be a string, not 1: put it in quotes"),
        ({"crontb": 1}, "crontb: unknown key, did you mean 'crontab'?"),
        ({"xyzzy": 1}, "xyzzy: unknown key"),
    ],
)  # fmt: skip
def test_each_fault_has_its_sentence(keys: Any, sentence: Any) -> None:
    assert faults(**keys) == [sentence]


def test_all_faults_come_at_once() -> None:
    found = faults(
        task=1, timezone="X", crontab="x", start_time="x", enabled="no", priority=-1, retry=-1, foo=1
    )
    assert [fault.split(":")[0].split(" ")[0] for fault in found] == [
        "task", "timezone", "crontab", "start_time", "enabled", "priority", "retry", "foo",
    ]  # fmt: skip


def test_a_star_step_beside_another_day_field_needs_day_match() -> None:
    assert "day_match" in faults(crontab="0 0 */2 * mon")[0]
    assert spec(crontab="0 0 */2 * mon", day_match="or").columns()["policy"] == {"day_match": "or"}


@pytest.mark.parametrize("more", [{"dst": {"gap": "skip"}}, {"day_match": "or"}, {"day_match": "and"}])
def test_a_hash_that_another_name_could_not_have_is_no_hindrance(more: dict[str, Any]) -> None:
    named = spec(name="n4", crontab="0 0 H(29-31) 2 *", **more)
    assert "0 0 29 2 *" in str(named.trigger)
    assert named.columns()["crontab"] == "0 0 H(29-31) 2 *"


def test_nesting_is_limited() -> None:
    deep: list[Any] = []
    for _ in range(2000):
        deep = [deep]
    assert faults(args=deep)[0].endswith("is nested deeper than 32 levels")


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["@daily", "1s", "2026-01-01T00:00"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from([*FORMAT, "name", "x"]), VALUES, max_size=6))
def test_any_declaration_is_either_a_spec_or_sentences(declaration: Any) -> None:
    try:
        made = ScheduleSpec.read(declaration, "UTC")
    except ValidationError as error:
        sentences = [fault.message for fault in faults_of(error)]
        assert sentences
        assert not any("\n" in sentence for sentence in sentences)
    else:
        json.dumps(made.columns(), default=str, allow_nan=False)
