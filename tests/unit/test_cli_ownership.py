"""`adopt`, `export`, `events`: from the API to the files, and who did what."""

import json
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskd.cli.direct import in_process
from taskd.cli.importing.document import schedule
from taskd.cli.ways import Reply
from taskd.config import load
from taskd.schedule.declaration import declaration_of
from taskd.schedule.spec import ScheduleSpec
from taskd.source.yamlfile import read_file
from tests.unit.conftest import Workplace


def post(target: str, **body: Any) -> Reply:
    """Ask the API in this process."""
    with click.Context(click.Command("test")).scope():
        return in_process(load(None, {}))(
            "POST", f"/api/v1/scheduler/schedulers{target}", json.dumps(body).encode()
        )


@pytest.fixture
def owned(stocked: Workplace) -> Workplace:
    """One whose API owns a schedule, secret and all."""
    keys = {"name": "backup", "task": "t.backup", "crontab": "0 3 * * *", "kwargs": {"token": "hunter2"}}
    status, body = post("", **keys)
    assert status == 201, body
    return stocked


def test_from_the_api_to_a_file(owned: Workplace) -> None:
    before = owned.json("show", "backup")
    assert "no file declares 'backup'" in owned.complaint("adopt", "backup")
    text = owned.taskd("export", "backup").stdout
    assert "token: hunter2" in text
    owned.file(text, "backup.yaml")
    assert "`taskd adopt backup` hands it to this file" in owned.taskd("sync", exits=1).stdout
    assert "a.yaml" not in owned.taskd("show", "backup").stdout
    assert "Conflict: " in owned.taskd("show", "backup").stdout

    adopted = owned.taskd("adopt", "backup").stdout
    assert adopted.startswith("active backup in ")
    assert adopted.strip().endswith("backup.yaml:4")
    assert owned.taskd("plan").stderr == "no changes; 3 unchanged\n"
    after = owned.json("show", "backup")
    assert (after["owner"], after["id"], after["uid"], after["conditions"]) == (
        "file",
        before["id"],
        before["uid"],
        [],
    )
    assert {key: after[key] for key in ("fingerprint", "crontab", "cursor_at")} == {
        key: before[key] for key in ("fingerprint", "crontab", "cursor_at")
    }
    assert owned.json("adopt", "backup")[0]["version"] == after["version"]

    told = owned.json("events", "backup")
    assert [each["kind"] for each in told] == ["conflict_ended", "adopted", "conflict", "created"]
    assert told[1]["before"] == {"owner": "api"}
    assert "hunter2" not in json.dumps(told)
    lines = owned.taskd("events", "backup", "-n", "2").stdout.splitlines()
    assert "owner: api → file" in lines[2]


def test_export_writes_what_the_api_owns_and_nothing_else(owned: Workplace) -> None:
    assert "backup:" in owned.taskd("export").stdout
    assert list(owned.json("export")["schedules"]) == ["backup"]
    assert "'heartbeat' is declared in" in owned.complaint("export", "heartbeat")
    assert "there is no schedule 'nobody'" in owned.complaint("export", "nobody")
    assert "No such option" in owned.complaint("export", "--url", "http://127.0.0.1:1")


def test_export_asks_no_daemon_and_says_so(owned: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKD_URL", "http://127.0.0.1:1")
    assert "`export` reads the database, and asks no daemon: unset TASKD_URL." in owned.complaint("export")


def test_without_any_the_export_is_an_empty_file(stocked: Workplace) -> None:
    result = stocked.taskd("export")
    assert "the API owns no schedules" in result.stderr
    assert read_file(result.stdout.encode(), "a.yaml", "UTC").problems == ()


def test_the_events_of_a_deleted_schedule_are_still_told(stocked: Workplace) -> None:
    text = (stocked.folder / "schedules/a.yaml").read_text()
    stocked.file(text.partition("  heartbeat:")[0])
    stocked.taskd("sync")
    assert [each["kind"] for each in stocked.json("events", "heartbeat")] == ["deleted", "created"]
    assert "there is no schedule 'nobody'" in stocked.complaint("events", "nobody")


words = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), min_size=1, max_size=20)
texts = st.one_of(
    words,
    st.sampled_from(
        [
            "on",
            "12:30",
            "0777",
            "1e5",
            "0o17",
            "~",
            "<<",
            "- a",
            "a: b",
            "#",
            "2026-01-01",
            "é\u0301",
            "=",
            "\u2028",
        ]
    ),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)  # fmt: skip
triggers = st.one_of(
    st.fixed_dictionaries(
        {"crontab": st.sampled_from(["H 3 * * *", "@daily", "*/5 * * * * *", "0 0 1,15 * mon", "0 2 L * *"])},
        optional={
            "day_match": st.just("and"),
            "dst": st.sampled_from([{"gap": "skip"}, {"overlap": "both"}, {"gap": "run_after"}]),
            "start_time": st.just("2026-01-31T12:00:00.25+01:00"),
        },
    ),
    st.fixed_dictionaries(
        {"interval": st.integers(1, 10**6)}, optional={"start_time": st.just("2026-01-31T12:00:00")}
    ),
    st.fixed_dictionaries({"date": st.sampled_from(["2026-12-31T23:30:00", "2999-01-01T00:00:00Z"])}),
)
others = st.fixed_dictionaries(
    {},
    optional={
        "args": st.lists(values, max_size=3),
        "kwargs": st.dictionaries(texts, values, max_size=3),
        "description": texts,
        "enabled": st.booleans(),
        "one_off": st.booleans(),
        "max_run_count": st.integers(0, 5),
        "end_time": st.just("2999-06-01T00:00:00"),
        "timezone": st.sampled_from(["UTC", "Asia/Shanghai", "America/New_York"]),
        "catchup": st.sampled_from(["all", "none", {"policy": "all", "window": "2d", "max": 7}]),
        "overlap": st.sampled_from(["skip", {"policy": "buffer", "size": 3, "stale_after": "2h"}]),
        "jitter": st.integers(0, 100),
        "retry": st.sampled_from([0, 3, {"max": 2, "backoff": "10s"}]),
        "pause_after_failures": st.integers(1, 100),
        "queue": st.just("q"),
        "headers": st.dictionaries(texts, values, max_size=2),
        "priority": st.integers(0, 255),
        "expires": st.just("3h"),
        "time_limit": st.just(60),
        "labels": st.dictionaries(
            st.sampled_from(["a", "on", "1"]), st.sampled_from(["x", "no", "07"]), max_size=2
        ),
    },
)


@given(name=texts, trigger=triggers, keys=others)
def test_what_is_exported_reads_as_the_same_declaration(name: str, trigger: Any, keys: Any) -> None:
    try:
        spec = ScheduleSpec.read({"name": name, "task": "t", **trigger, **keys}, "Europe/Berlin")
    except ValueError:
        return
    text = "schedules:\n" + schedule(spec.name, declaration_of(spec.columns()))
    reading = read_file(text.encode(), "a.yaml", "Asia/Tokyo")
    assert not reading.broken, (text, reading.problems)
    [read] = reading.schedules
    assert (read.spec.name, read.spec.columns()) == (spec.name, spec.columns()), text
