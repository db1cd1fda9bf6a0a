"""`init`: the first files."""

import json
import re
from pathlib import Path

import yaml

from taskd.cli.init import settings_template
from taskd.config import Settings, load
from tests.unit.conftest import Workplace


def test_it_writes_settings_and_a_schedule_that_are_valid(place: Workplace) -> None:
    shown = place.taskd("init").stdout
    assert shown == "wrote taskd.yaml\nwrote schedules/hello.yaml\nwrote schedule.schema.json\n"
    assert load(Path("taskd.yaml"), {}) == Settings()
    assert yaml.safe_load(Path("taskd.yaml").read_text()) == {
        "timezone": "Asia/Shanghai",
        "schedules": {"paths": ["schedules"]},
    }
    assert place.json("check")["schedules"] == 1


def test_an_editor_finds_the_schema_that_the_first_schedule_names(place: Workplace) -> None:
    place.taskd("init")
    schedule = Path("schedules/hello.yaml")
    named = re.match(r"# yaml-language-server: \$schema=(\S+)\n", schedule.read_text())
    assert named is not None
    assert json.loads((schedule.parent / named[1]).read_text())["title"] == "Schedules of taskd"


def test_it_never_touches_what_is_there(place: Workplace) -> None:
    place.file("# mine\n", "mine.yaml")
    Path("taskd.yaml").write_text("# mine\n")
    result = place.taskd("init")
    assert result.stdout == ""
    assert "taskd.yaml is there already: left as it is" in result.stderr
    assert Path("taskd.yaml").read_text() == "# mine\n"
    assert [path.name for path in Path("schedules").iterdir()] == ["mine.yaml"]


def test_it_writes_beside_the_settings_that_are_named(place: Workplace) -> None:
    written = place.json("-c", "etc/own.yaml", "init")["written"]
    assert written == ["etc/own.yaml", "etc/schedules/hello.yaml", "etc/schedule.schema.json"]
    assert place.json("-c", "etc/own.yaml", "check")["schedules"] == 1


def test_with_every_hash_taken_away_it_is_the_example(place: Workplace) -> None:
    lines = (line.removeprefix("#") if line[1:2] != " " or line[2:3] == " " else line for line in _body())
    assert yaml.safe_load("\n".join(lines)) == yaml.safe_load(_example())


def _body() -> list[str]:
    return settings_template().splitlines()


def _example() -> str:
    return (Path(__file__).parents[2] / "taskd.yaml.example").read_text()
