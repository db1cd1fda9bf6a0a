"""What ships beside the code: the example of the settings, the systemd units."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from taskd.cli import main
from taskd.config import Settings, load
from taskd.config.mistakes import keys_of

ROOT = Path(__file__).parents[2]
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def test_the_example_shows_every_key_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    example = Path(shutil.copy(ROOT / "taskd.yaml.example", "taskd.yaml"))
    assert load(example, {}) == Settings()
    shown = yaml.safe_load(example.read_text())
    for path in keys_of(Settings):
        section = shown
        for key in path[:-1]:
            section = section[key]
        assert path[-1] in section, f"{path} is missing"


UNITS = {"taskd.service": "taskd.service", "taskd-worker@.service": "taskd-worker@reports.service"}


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """A folder with all units, their command one that is here, the template as an instance."""
    for name in (path.name for path in (ROOT / "systemd").iterdir() if path.is_file()):
        text = (ROOT / "systemd" / name).read_text()
        assert text.count("ExecStart=/opt/taskd/bin/taskd ") == (name in UNITS)
        (tmp_path / UNITS.get(name, name)).write_text(text.replace("/opt/taskd/bin/taskd", "/bin/true"))
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("name", [*UNITS.values(), "taskd.socket"])
def test_each_unit_verifies_without_a_word(units: Path, name: str) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", name],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"},
        cwd=units,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if "taskd" in line]
    assert about_it == []


@needs_systemd
@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("taskd.service", 1.5),
        (
            "taskd-worker@reports.service",
            2.0,
        ),  # its tasks may start programs, generate code, keep to a processor
    ],
)
def test_they_are_hardly_exposed(units: Path, name: str, most: float) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", units / name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    exposure = re.search(rf"Overall exposure level for {re.escape(name)}: (\d+\.\d+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= most


def test_the_compose_file_gives_settings_and_commands_that_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    compose = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
    (tmp_path / "api-token").write_text("0123456789abcdef" * 4)
    ours = [service for service in compose["services"].values() if service["image"] == "taskd"]
    assert len(ours) == 4
    for service in ours:
        environ = {
            name: value.replace("${PASSWORD:?see the top of this file}", "secret").replace(
                "/run/secrets", str(tmp_path)
            )
            for name, value in service["environment"].items()
        }
        settings = load(None, environ)
        assert (settings.environment, settings.broker_kind) == ("prod", "rabbitmq")
        assert settings.http.tokens
        assert service["command"][0] in main.commands
        assert (ROOT / "deploy" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        volumes = {mount.partition(":")[0] for mount in service["volumes"]}
        assert volumes <= {"./schedules"}
    waited_for = {name for service in compose["services"].values() for name in service.get("depends_on", {})}
    assert waited_for <= compose["services"].keys()


def test_the_container_file_copies_what_there_is_and_starts_what_is_installed() -> None:
    lines = (ROOT / "deploy/Containerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [
        word
        for line in lines
        if line.startswith("COPY ") and "--from" not in line
        for word in line.split()[1:-1]
    ]
    assert {"pyproject.toml", "README.md", "LICENSE", "taskd", "taskd.yaml.example"} == set(copied)
    assert all((ROOT / name).exists() for name in copied)
    (command,) = [yaml.safe_load(line.partition(" ")[2]) for line in lines if line.startswith("CMD ")]
    assert command[0] in main.commands
    extras = re.findall(r"\.\[([\w,]+)\]", "\n".join(lines))
    assert set(extras[0].split(",")) <= {"postgresql", "mariadb", "flower"}


@needs_systemd
def test_the_user_and_the_folders_are_made_as_the_units_want_them(tmp_path: Path) -> None:
    def run(*command: str) -> None:
        subprocess.run([*command, f"--root={tmp_path}"], check=True, capture_output=True, timeout=60)

    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", str(ROOT / "systemd/sysusers.d/taskd.conf"))
    [user] = (tmp_path / "etc/passwd").read_text().splitlines()
    name, _, _, group, _, home, shell = user.split(":")
    assert (name, home, Path(shell).name) == ("taskd", "/var/lib/taskd", "nologin")
    if os.geteuid():
        return  # only root gives folders to others
    run("systemd-tmpfiles", "--create", str(ROOT / "systemd/tmpfiles.d/taskd.conf"))
    for folder in ("taskd", "taskd/schedules"):
        made = (tmp_path / "etc" / folder).stat()
        assert (made.st_mode & 0o7777, made.st_uid, made.st_gid) == (0o750, 0, int(group))
