"""What pages name is there: commands, routes, targets of make, files, tasks; and no kind of example goes untested."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest
import yaml
from celery import Celery

from taskd.cli.direct import in_process
from taskd.config import load
from taskd.http.routes import ROUTES
from tests.unit.conftest import Workplace
from tests.unit.test_cli_shared import command_of
from tests.unit.test_docs import EXAMPLES, SETTINGS

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("docs/*.md")), ROOT / "README.md", ROOT / "CHANGELOG.md"]
FILES = [*PAGES, ROOT / "taskd.yaml.example", *ROOT.glob("systemd/*.s*"), *ROOT.glob("deploy/*.yaml")]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
OTHERS = {
    "celery",
    "cp",
    "curl",
    "install",
    "systemctl",
}  # programs that are told of taskd, and don't call it
ROOTS = "taskd|docs|systemd|deploy|bench|schedules|website|tests"


def blocks(kind: str) -> list[str]:
    """What all pages show in blocks of this kind."""
    return [text for page in PAGES for found, text in FENCED.findall(page.read_text()) if found == kind]


def spans(path: Path) -> list[str]:
    """What stands in backticks in its sentences."""
    return re.findall(r"`([^`\n]+)`", FENCED.sub("", path.read_text()))


def commands(path: Path) -> list[str]:
    """The calls of taskd that it shows, each from the name on."""
    text = path.read_text()
    shown = [
        line
        for kind, block in FENCED.findall(text)
        if kind in {"sh", "console"}
        for line in block.splitlines()
        if line
    ]
    lines = [*spans(path), *(line for line in shown if line.split()[0] not in {"#", *OTHERS})]
    found = [re.search(r"(?:^|[ /|])(taskd [a-z-].*)", line.partition("  #")[0]) for line in lines]
    return [match[1] for match in found if match]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_command_parses(place: Workplace, path: Path) -> None:
    for name in ("schedules", "before"):
        (place.folder / name).mkdir()
    for name in ("schedules/heartbeat.yaml", "FILE"):
        (place.folder / name).touch()
    for command in commands(path):
        words = shlex.split(re.split(r" (?:[|>&]|\\\|)", command.replace("…", "w1@host"))[0])[1:]
        try:
            command_of(words)
        except (click.exceptions.Exit, click.MissingParameter, click.exceptions.NoArgsIsHelpError):
            pass  # a name in a sentence
        except click.ClickException as error:
            pytest.fail(f"{command}: {error.format_message()}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_route_is_one(path: Path) -> None:
    known = [re.sub(r"\{\w+\}", "[^/]+", route.path) for route in ROUTES]
    for found in re.findall(r"/api/v1/[\w/{}.-]*\w|/api/docs|/healthz|/readyz|/metrics\b", path.read_text()):
        below = any(route.path.startswith(f"{found}/") for route in ROUTES)
        assert below or any(re.fullmatch(route, found) for route in known), found
    for method, found in re.findall(r"`(GET|POST|PUT|PATCH|DELETE) …/([\w/{}-]+)[`?]", path.read_text()):
        ends = [route.path for route in ROUTES if route.method == method and route.path.endswith(f"/{found}")]
        assert ends, f"{method} …/{found}"


def test_each_target_of_make_is_one() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word for page in PAGES for word in re.findall(r"(?:`|^)make (\w+)", page.read_text(), re.MULTILINE)
    }
    assert named
    assert named <= targets


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_file_of_the_sources_is_there(path: Path) -> None:
    named = re.findall(
        rf"(?<![\w/.-])((?:{ROOTS})/[\w@.{{}}/-]+\.(?:py|md|yaml|json|service|socket|conf|svg))",
        path.read_text(),
    )
    mine = {
        match[1] for match in re.finditer(r"^# (\S+\.\w+)$", path.read_text(), re.MULTILINE)
    }  # shown as one's own
    for name in named:
        assert (ROOT / name).exists() or name in mine or name.startswith("schedules/"), name


def test_scripts_are_the_shells() -> None:
    for text in blocks("sh"):
        done = subprocess.run(["sh", "-n"], input=text, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_block_of_yaml_is_tried_by_some_test() -> None:
    tried = {str(param.values[0]) for param in (*EXAMPLES, *SETTINGS)}
    elsewhere = r"apiVersion:|# \.github/|http:|# schedules/|timezone:"  # their own tests; the tutorial's
    left = [text for text in blocks("yaml") if text not in tried and not re.match(elsewhere, text)]
    assert left == []


def test_no_other_kind_of_block_is_shown() -> None:
    kinds = {kind for page in PAGES for kind, _ in FENCED.findall(page.read_text())}
    # dockerfile: a line on the image that ships; text, json and none: what programs answer, and pictures
    assert kinds == {"yaml", "sh", "console", "python", "ini", "dockerfile", "json", "text", ""}


def test_what_is_posted_to_the_api_makes_a_schedule(place: Workplace) -> None:
    place.taskd("db", "upgrade")
    (shown,) = re.findall(r"-d '(\{.*?\})'", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    with click.Context(click.Command("test")).scope():
        status, answer = in_process(load(None, {}))("POST", "/api/v1/scheduler/schedulers", shown.encode())
    assert status == 201, answer
    assert json.loads(answer)["name"] == "daily-report"


def test_the_table_of_tasks_that_ship_is_all_of_them() -> None:
    table = (
        (ROOT / "docs/schedule-files.md").read_text().partition("## Tasks that ship")[2].partition("\n## ")[0]
    )
    named = set(
        re.findall(r"`(taskd\.tasks\.[\w.]+)`", "\n".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE)))
    )
    app = Celery("test", include=["taskd.tasks"], set_as_current=False)
    app.loader.import_default_modules()
    app.finalize()
    assert named == {name for name in app.tasks if name.startswith("taskd.")}


def test_the_fire_times_of_a_plan_have_the_keys_that_are_shown(stocked: Workplace) -> None:
    (shown,) = blocks("json")
    stocked.file("schedules: {every: {task: t, interval: 1h}}", "b.yaml")
    [created] = stocked.json("plan", exits=3)["creates"]
    assert created["fires"].keys() == yaml.safe_load(f"{{{shown}}}")["fires"].keys()
