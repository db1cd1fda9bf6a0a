"""What ships beside the code: the example of the settings, the systemd units."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

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


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, its command one that is here."""
    text = (ROOT / "systemd/taskd.service").read_text()
    assert text.count("/opt/taskd/bin/taskd run") == 1
    unit = tmp_path / "taskd.service"
    unit.write_text(text.replace("/opt/taskd/bin/taskd run", "/bin/true"))
    return unit


@needs_systemd
def test_the_unit_verifies_without_a_word(unit: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=30
    )
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if "taskd" in line]
    assert about_it == []


@needs_systemd
def test_the_daemon_is_hardly_exposed(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", unit]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    exposure = re.search(r"Overall exposure level for taskd\.service: (\d+\.\d+)", done.stdout)
    assert exposure is not None, done.stderr
    assert float(exposure[1]) <= 1.5
