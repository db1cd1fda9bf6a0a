"""The JSON Schema of schedule files: one with the model, the committed file, the guide and the examples."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from taskd.errors import InvalidSchedule
from taskd.schedule.descriptions import KEYS
from taskd.schedule.duration import WRITTEN_DURATION, seconds_of
from taskd.schedule.policy_fields import PARTS
from taskd.schedule.spec import ScheduleSpec, declared_keys
from taskd.source.nodes import compose
from taskd.source.schema import file_schema
from taskd.source.values import Values
from taskd.source.yamlfile import read_file
from tests.unit.conftest import Workplace

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "schedule.schema.json"
SHIPPED = sorted(ROOT.glob("schedules/*.yaml"))
GUIDE = (ROOT / "docs/schedule-files.md").read_text()
EXAMPLES = {
    **{str(path.relative_to(ROOT)): path.read_text() for path in SHIPPED},
    "hello.yaml": (ROOT / "taskd/cli/templates/hello.yaml").read_text(),
    **{
        f"{page.name}-{n}": block
        for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
        for n, block in enumerate(
            re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
        )
        if re.search(r"^schedules:", block, re.MULTILINE) and "paths:" not in block
    },
}
VALIDATOR = Draft202012Validator(json.loads(COMMITTED.read_text()))


def document(text: str) -> Any:
    """A file as an editor's YAML 1.2 parser reads it."""
    root = compose(text.encode())
    return None if root is None else Values().read(root)


def test_the_committed_file_is_what_taskd_prints(tmp_path: Path) -> None:
    """`make schema` brings it up to date."""
    command = [Path(sys.executable).parent / "taskd", "schema"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert printed == COMMITTED.read_text()


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    assert VALIDATOR.schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("text", EXAMPLES.values(), ids=EXAMPLES)
def test_every_example_is_valid(text: str) -> None:
    VALIDATOR.validate(document(text))


def test_the_examples_are_there() -> None:
    assert len(EXAMPLES) >= 12


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_an_editor_finds_it_from_every_file_that_ships(path: Path) -> None:
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", path.read_text())
    assert named is not None
    assert (path.parent / named[1]).resolve() == COMMITTED


BAD = [
    "a: {task: t}",
    "a: {crontab: '* * * * *'}",
    "a: {task: t, interval: 5m, crontab: '* * * * *'}",
    "a: {task: t, interval: 5m, interval_seconds: 300}",
    "a: {task: t, date: 2026-12-31T23:30:00, start_time: 2026-12-31T23:30:00}",
    "a: {task: t, crontab: '* * * * *', schedule_type: interval}",
    "a: {task: t, schedule_type: crontab, start_time: 2026-12-31T23:30:00}",
    "a: {task: t, cronttab: '* * * * *'}",
    "a: {task: t, crontab: '* * *'}",
    "a: {task: t, interval: 5 minutes}",
    "a: {task: t, interval: 0}",
    "a: {task: t, interval: P}",
    "a: {task: t, interval: true}",
    "a: {task: t, date: 2026-12-31}",
    "a: {task: null, interval: 5m}",
    "a: {task: '', interval: 5m}",
    "a: {task: 7, interval: 5m}",
    "a: {task: t, interval: 5m, enabled: yes}",
    "a: {task: t, interval: 5m, args: {x: 1}}",
    "a: {task: t, interval: 5m, kwargs: [1]}",
    "a: {task: t, interval: 5m, priority: 256}",
    "a: {task: t, interval: 5m, max_run_count: -1}",
    "a: {task: t, interval: 5m, catchup: some}",
    "a: {task: t, interval: 5m, catchup: {policy: all, windows: 1h}}",
    "a: {task: t, interval: 5m, overlap: {policy: skip, max_active: 0}}",
    "a: {task: t, interval: 5m, retry: {max: 2000}}",
    "a: {task: t, interval: 5m, retry: often}",
    "a: {task: t, interval: 5m, day_match: and}",
    "a: {task: t, interval: 5m, dst: {gap: skip}}",
    "a: {task: t, crontab: '* * * * *', dst: {gap: later}}",
    "a: {task: t, interval: 5m, labels: {team: 7}}",
    "a: {task: t, interval: 5m, labels: {'a:b': x}}",
    "a: {task: t, interval: 5m, pause_after_failures: 101}",
    "a/b: {task: t, interval: 5m}",
    "all: {task: t, interval: 5m}",
    "'123': {task: t, interval: 5m}",
    "a: []",
]


@pytest.mark.parametrize("schedule", BAD)
def test_what_is_wrong_is_refused_as_by_taskd_check(schedule: str) -> None:
    text = f"schedules:\n  {schedule}\n"
    assert not VALIDATOR.is_valid(document(text))
    assert read_file(text.encode(), "a.yaml", "UTC").broken


@pytest.mark.parametrize(
    "text", ["schedule: {}", "[]", "defaults: {task: t}", "defaults: {interval: 5m}", "defaults: {quue: x}"]
)
def test_what_is_wrong_around_schedules_is_refused_too(text: str) -> None:
    assert not VALIDATOR.is_valid(document(text))
    assert read_file(text.encode(), "a.yaml", "UTC").broken


@pytest.mark.parametrize(
    "text", ["", "schedules:", "defaults:\nschedules: {}", "defaults: {queue: x, dst: {gap: skip}}"]
)
def test_what_is_empty_is_valid(text: str) -> None:
    VALIDATOR.validate(document(text))


ODD = [
    None,
    True,
    0,
    1,
    3,
    -1,
    1.5,
    "",
    "x",
    "5m",
    "PT1H",
    "p1dt2h",
    "0s",
    "1d2h",
    "all",
    [],
    ["x"],
    {},
    {"a": 1},
]
VALUES = {
    "crontab": [" */5 * * * * ", "@daily", "H H * * *", "0 0 1,15 * mon", "1 2 3 * * *"],
    "date": ["2026-12-31T23:30:00", "2026-12-31 23:30:00.25+08:00", "2026-12-31t23:30z"],
    "schedule_type": ["crontab", "interval", "date"],
    "timezone": ["UTC", "Europe/Berlin"],
    "day_match": ["or", "and"],
    "catchup": ["none", {"policy": "all", "max": 3}, {"window": "2h"}, {"window": 60}],
    "overlap": ["skip", {"policy": "buffer", "size": 2}, {"policy": "skip", "stale_after": None}],
    "dst": [{"gap": "skip"}, {"overlap": "both", "gap": None}, {}],
    "retry": [{"max": 3, "backoff": 0}, {"backoff": "2s", "jitter": False}, {"max": 0}],
    "labels": [{"a": "b"}, {"a": ""}],
    "headers": [{"a": [1, None]}],
}
VALUES["start_time"] = VALUES["end_time"] = VALUES["date"]


@st.composite
def declarations(draw: st.DrawFn) -> dict[str, Any]:
    trigger = draw(st.sampled_from(["crontab", "interval", "interval_seconds", "date", "schedule_type"]))
    others = draw(st.lists(st.sampled_from(sorted(declared_keys())), max_size=3))
    given = {key: draw(st.sampled_from([*VALUES.get(key, []), *ODD])) for key in others}
    usual = VALUES.get(trigger, ["5m", 300, "PT5M"])
    return {"task": "t", **given, trigger: draw(st.sampled_from(usual))}


@given(declarations())
def test_it_never_refuses_what_taskd_takes(declaration: dict[str, Any]) -> None:
    try:
        ScheduleSpec.read({**declaration, "name": "a"}, "UTC")
    except ValidationError:
        return
    VALIDATOR.validate({"schedules": {"a": declaration}})


@given(
    st.from_regex(r"[Pp]?([0-9]{1,2}[dDhHmMsStT]?){0,4}", fullmatch=True)
    | st.from_regex(r"([0-9]d)?([0-9]h)?([0-9]m)?([0-9]s)?")
)
def test_every_duration_that_is_read_is_one_to_editors(text: str) -> None:
    try:
        seconds_of(text)
    except InvalidSchedule:
        return
    assert re.match(WRITTEN_DURATION, text)


def test_model_schema_and_descriptions_have_the_same_keys() -> None:
    defs = file_schema()["$defs"]
    assert set(defs["Schedule"]["properties"]) == set(declared_keys())
    parts = {f"{key}.{part}" for key, kind in PARTS.items() for part in defs[kind.__name__]["properties"]}
    assert {*declared_keys(), *parts} == set(KEYS)


@pytest.mark.parametrize("key", [key for key, described in KEYS.items() if described.examples])
def test_the_examples_of_a_key_are_valid(key: str) -> None:
    for example in KEYS[key].examples:
        key_, _, part = key.partition(".")
        value = {part: example} if part else example
        if part and key_ == "overlap":
            value |= {"policy": "skip"}
        trigger = (
            {} if key in {"crontab", "interval", "interval_seconds", "date"} else {"crontab": "0 0 * * *"}
        )
        declaration = {"task": "t", **trigger, key_: value}
        ScheduleSpec.read({**declaration, "name": "a"}, "UTC")
        VALIDATOR.validate({"schedules": {"a": declaration}})


def test_the_words_that_a_key_takes_are_those_of_the_guide() -> None:
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", GUIDE.partition("## Keys")[2], re.MULTILINE)
    values = {key: value for keys, value in rows for key in re.findall(r"`(\w+)`", keys)}
    properties = file_schema()["$defs"]["Schedule"]["properties"]
    checked = 0
    for key, schema in properties.items():
        for choice in (each for each in schema["anyOf"] if "enum" in each) if "anyOf" in schema else ():
            told = re.sub(r"`{.*", "", values[key])
            assert re.findall(r"`(\w+)`", told) == choice["enum"], key
            checked += 1
    assert checked == 4


def test_the_defaults_of_the_schema_are_those_of_the_guide() -> None:
    rows = re.findall(r"^\| (`[^|]*) \| [^|]* \| ([^|]*) \|", GUIDE.partition("## Keys")[2], re.MULTILINE)
    told = {key: default for keys, default in rows for key in re.findall(r"`(\w+)`", keys)}
    defaults = {
        key: json.dumps(schema["default"])
        for key, schema in file_schema()["$defs"]["Schedule"]["properties"].items()
        if "default" in schema and (not schema["default"] or schema["default"] is True)
    }
    assert set(defaults) == {"args", "kwargs", "enabled", "one_off", "max_run_count", "jitter", "labels"}
    for key, default in defaults.items():
        assert default in re.split(r"[`, ]+", told[key]), key


def test_the_tasks_of_the_application_are_suggested_and_others_allowed(place: Workplace) -> None:
    (place.folder / "suggested.py").write_text(
        "from celery import shared_task\nprint('a word')\n@shared_task(name='suggested.one')\ndef one(): pass\n"
    )
    (place.folder / "taskd.yaml").write_text("celery: {imports: [suggested]}")
    schema = place.json("schema")
    named = next(
        each["enum"] for each in schema["$defs"]["Schedule"]["properties"]["task"]["anyOf"] if "enum" in each
    )
    assert "suggested.one" in named
    assert not any(name.startswith("celery.") for name in named)
    for task in ("suggested.one", "another"):
        Draft202012Validator(schema).validate({"schedules": {"a": {"task": task, "interval": 5}}})


def test_an_application_that_can_t_be_imported_suggests_nothing(place: Workplace) -> None:
    (place.folder / "taskd.yaml").write_text("celery: {imports: [no_such_module]}")
    result = place.taskd("schema")
    assert (
        "without names of tasks: celery.imports: not all of no_such_module can be imported: ModuleNotFoundError"
        in result.stderr
    )
    assert json.loads(result.stdout) == file_schema()
