"""What a person gets wrong costs one sentence and the right exit code, and nothing of what was there."""

import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests import services
from tests.acceptance.installations import LEADS, Installation, assert_each_once
from tests.acceptance.processes import taskd
from tests.integration.workers import ROOT

WRONG, AWAY = 2, 1  # the exit codes: a human must mend it; it will pass, so systemd starts it again


def complaint(folder: Path, *words: str, code: int = WRONG, **settings: str) -> str:
    """The one sentence with which a command ends."""
    done = taskd(folder, *words, **settings)
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("taskd: ")
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr.strip()


@pytest.mark.parametrize("program", ["run", "beat"])
def test_a_database_without_tables_names_the_command_that_makes_them(tmp_path: Path, program: str) -> None:
    (tmp_path / "empty.db").touch()
    said = complaint(tmp_path, program, TASKD_DATABASE__URL=f"sqlite:///{tmp_path}/empty.db")
    assert said == "taskd: the database has no tables of taskd yet: run `taskd db upgrade`"


def test_a_database_of_a_newer_taskd_is_left_alone(place: Installation) -> None:
    connection = sqlite3.connect(place.folder / "state" / "taskd.db", isolation_level=None)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = list(connection.iterdump())
    said = complaint(place.folder, "run", **place.environ)
    assert (
        said == "taskd: the database is at revision 9999, newer than this taskd knows: install a newer taskd"
    )
    assert list(connection.iterdump()) == before
    connection.close()


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("milk, bread\n" * 100)
    said = complaint(tmp_path, "run", TASKD_DATABASE__URL=f"sqlite:///{file}")
    assert said == f"taskd: database.url: {file} is no SQLite database"
    assert file.read_text() == "milk, bread\n" * 100


def test_a_database_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with services.own_database("postgresql") as url:
        missing = make_url(url).set(database="nobody_made_this").render_as_string(hide_password=False)
        said = complaint(tmp_path, "run", code=AWAY, TASKD_DATABASE__URL=missing)
    assert 'database "nobody_made_this" does not exist' in said


@pytest.mark.parametrize("scheme", ["postgresql", "mariadb"])
def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://me:geheim@127.0.0.1:{services.free_port()}/taskd"
    for program in ("run", "beat"):
        said = complaint(tmp_path, program, code=AWAY, TASKD_DATABASE__URL=url)
        assert "me:***@127.0.0.1" in said
        assert "refused" in said
        assert "geheim" not in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "lease: {ttl: 10s}\ndatabse: {url: null}\n",
            "taskd.yaml:2:1: databse: unknown key, did you mean 'database'?",
        ),
        ("lease:\n  ttl: 1s\n", "taskd.yaml:2:3: lease.ttl: should be greater than or equal to 3"),
        ("http: {bind: 0.0.0.0:8470}\n", "taskd.yaml:1:8: http.bind: 0.0.0.0 is not a loopback address"),
        ("http: [\n", "taskd.yaml:2:1: "),
    ],
)
def test_bad_settings_are_named_with_their_place(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "taskd.yaml").write_text(text)
    assert complaint(tmp_path, "run").startswith(f"taskd: {expected}")
    assert [path.name for path in tmp_path.iterdir()] == ["taskd.yaml"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (lambda place: {"TASKD_STATE_DIR": str(place.folder / "other")}, "taskd: 127.0.0.1:{port} is taken by another program"),
        (lambda _: {"TASKD_HTTP__BIND": f"127.0.0.1:{services.free_port()}"}, "taskd: another process answers on {socket}"),
    ],
    ids=["same port", "same socket"],
)  # fmt: skip
def test_a_daemon_that_cannot_listen_disturbs_nobody(
    place: Installation, settings: Callable[[Installation], dict[str, str]], expected: str
) -> None:
    place.beats("a")
    place.worker()
    daemon = place.daemon(until=LEADS)
    leader = place.holder()
    shared = {"TASKD_DATABASE__URL": place.database.url.render_as_string(hide_password=False)}
    said = complaint(place.folder, "run", **{**place.environ, **shared, **settings(place)})
    assert said.startswith(expected.format(port=place.port, socket=place.folder / "state" / "taskd.sock"))

    place.goes_on("a")
    assert place.holder() == leader
    assert taskd(place.folder, "list", **place.environ).returncode == 0  # the socket still answers
    assert daemon.stop(within=15) == 0
    place.settle()
    assert_each_once(place, "a")


def test_an_old_python_is_refused_by_make_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    pretend = "import sys; sys.version_info = (3, 9, 18, 'final', 0); sys.executable = sys.argv[2]; exec(sys.argv[1])"
    old.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{pretend}" "$2" "$0"\n')
    old.chmod(0o755)
    done = subprocess.run(
        ["make", "run", f"PYTHON={old}", f"VENV={tmp_path}/venv"],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))},
        capture_output=True,
        text=True,
        check=False,
    )
    sentence, of_make = done.stderr.splitlines()
    assert sentence == (
        f"taskd needs Python 3.11 or newer and {old} is 3.9: name another with make PYTHON=python3.12"
    )
    assert of_make.startswith("make: *** ")
    assert done.returncode != 0
    assert [path.name for path in tmp_path.iterdir()] == ["python3.9"]
