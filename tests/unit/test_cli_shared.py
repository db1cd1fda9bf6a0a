"""What holds for every command: help with examples, shared options, mistakes in one sentence."""

import re
import shlex

import click
import pytest

from taskd import __version__
from taskd.cli import main
from tests.unit.conftest import Workplace

GROUPS = {
    name: list(command.commands)
    for name in main.commands
    if isinstance(command := main.resolve_command(click.Context(main), [name])[1], click.Group)
}
COMMANDS = [*main.commands, *(f"{group} {each}" for group, commands in GROUPS.items() for each in commands)]
STATE = [
    "list",
    "show x",
    "next x",
    "why x --at 2026-01-01T09:00",
    "runs",
    "run-show 1",
    "log 1",
    "events x",
    "trigger x",
    "trigger x*",
    "pause x",
    "resume x",
    "start x",
    "adopt x",
    "revoke 1",
    "terminate 1",
    "purge --older-than 1d --yes",
    "plan",
    "sync",
    "workers ping",
    "workers stats w1@host",
    "workers shutdown --all",
]


def command_of(words: list[str]) -> click.Context:
    """The context of the command that `words` call, parsed as if it were called."""
    context = main.make_context("taskd", list(words))
    command: click.Command = main
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found is not None
        context, command = found.make_context(name, rest, parent=context), found
    return context


def test_help_lists_the_commands_in_the_order_of_a_days_work(place: Workplace) -> None:
    shown = place.taskd("--help").output
    places = [shown.index(f"\n  {name} ") for name in main.commands]
    assert places == sorted(places)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_whose_examples_parse(place: Workplace, command: str) -> None:
    place.file("", "reports.yaml")
    shown = place.taskd(*command.split(), "--help").output
    examples = [line.strip() for line in shown.splitlines() if line.startswith("    taskd ")]
    assert examples
    for example in examples:
        words = shlex.split(re.split(r" [|>] ", example)[0])[1:]
        called = command_of(words)
        assert f"{called.command_path} ".startswith(f"taskd {command} ")


def test_the_version(place: Workplace) -> None:
    assert place.taskd("--version").output == f"taskd {__version__}\n"


def test_an_unknown_command_is_told_its_neighbour(place: Workplace) -> None:
    assert "Did you mean 'list'?" in place.complaint("lst")


@pytest.mark.parametrize("command", STATE)
def test_without_a_database_each_command_says_how_to_make_one(place: Workplace, command: str) -> None:
    sentence = place.complaint(*command.split())
    assert sentence.startswith(f"taskd: there is no database {place.folder}/.taskd/taskd.db yet: start")
    assert not (place.folder / ".taskd").exists()


@pytest.mark.parametrize("command", STATE)
def test_an_address_that_nobody_answers_at_is_named(place: Workplace, command: str) -> None:
    sentence = place.complaint(*command.split(), "--url", "http://127.0.0.1:1")
    assert sentence == "taskd: no taskd answers at http://127.0.0.1:1: Connection refused"


def test_a_wrong_schema_names_the_command_to_run(place: Workplace) -> None:
    (place.folder / ".taskd").mkdir()
    (place.folder / ".taskd/taskd.db").touch()
    assert place.complaint("list") == "taskd: the database has no tables of taskd yet: run `taskd db upgrade`"


def test_a_database_that_is_away_is_named_without_its_password(place: Workplace) -> None:
    (place.folder / "taskd.yaml").write_text("database: {url: 'postgresql://me:hunter2@127.0.0.1:1/taskd'}\n")
    sentence = place.complaint("list")
    assert "127.0.0.1:1/taskd can't be used" in sentence
    assert "hunter2" not in sentence


def test_a_configuration_that_is_not_there_is_named(place: Workplace) -> None:
    assert (
        place.complaint("-c", "gone.yaml", "list") == "taskd: can't read gone.yaml: No such file or directory"
    )


def test_a_mistake_in_the_configuration_is_shown_with_its_place(place: Workplace) -> None:
    (place.folder / "mine.yaml").write_text("timezone: Europe/Berlim\n")
    sentence = place.complaint("list", "-c", "mine.yaml")
    assert sentence.startswith("taskd: mine.yaml:1:1: timezone: unknown time zone 'Europe/Berlim'")
    assert "Europe/Berlin" in sentence


def test_json_may_stand_before_or_after_the_command(stocked: Workplace) -> None:
    assert stocked.taskd("--json", "list").stdout == stocked.taskd("list", "--json").stdout


@pytest.mark.parametrize("command", ["worker", "beat", "flower", "run"])
def test_an_option_that_would_be_ignored_is_refused(place: Workplace, command: str) -> None:
    assert f"`{command}` has no --json" in place.complaint("--json", command)
    assert f"`{command}` has no --url" in place.complaint("--url", "http://127.0.0.1:1", command)


def test_a_file_in_the_way_of_the_state_folder_is_one_sentence(place: Workplace) -> None:
    (place.folder / ".taskd").write_text("")
    sentence = place.complaint("db", "upgrade")
    assert f"{place.folder}/.taskd/taskd.db can't be used: its folder can't be made: File exists" in sentence


def test_without_flower_the_extra_is_named(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskd.cli.programs.find_spec", lambda _: None)
    assert place.complaint("flower") == "taskd: Flower is not installed: pip install 'taskd[flower]'"
