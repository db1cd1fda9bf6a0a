"""What is built can be installed and used without the repository, and comes out the same each time."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import services
from tests.acceptance.processes import running
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
OUT_OF_THE_WAY = (".venv", ".git", "__pycache__", ".taskd", "dist", ".*_cache", ".hypothesis", "site")


def built(folder: Path) -> dict[str, str]:
    """Name → digest of the wheel and the sdist, built from a copy of the sources in `folder`."""
    source = folder / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*OUT_OF_THE_WAY))
    environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", folder / "dist"],
        cwd=source, env=environ, check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    files = sorted((folder / "dist").iterdir())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("build")
    built(folder)
    return folder / "dist"


def test_two_builds_are_equal_byte_for_byte(dist: Path, tmp_path: Path) -> None:
    first = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(dist.iterdir())}
    assert len(first) == 2
    assert built(tmp_path) == first


def test_what_is_needed_at_run_time_is_inside_and_nothing_else(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert all(name.startswith(("taskd/", "taskd-")) for name in names)
    inside = {str(path.relative_to(ROOT)) for path in (ROOT / "taskd").rglob("*") if path.is_file()}
    assert inside - names == {name for name in inside if "__pycache__" in name}
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        outside = [name for name in archive.getnames() if "/.venv" in name or "/.git/" in name]
    assert outside == []


@pytest.fixture(scope="module")
def installed(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`taskd` in a virtual environment with the wheel; what it depends on is lent by this one."""
    home = tmp_path_factory.mktemp("venv")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    (wheel,) = dist.glob("*.whl")
    uv = [sys.executable, "-m", "uv", "--offline", "pip", "install", "--no-deps", "--python", home]
    subprocess.run([*uv, wheel], check=True, capture_output=True, timeout=180)
    # A path in a .pth file lends its packages, but not what that folder's own .pth files add: the sources.
    (site,) = home.glob("lib/python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin" / "taskd"


def test_a_stranger_gets_from_nothing_to_a_first_run_and_a_first_mistake(
    installed: Path, tmp_path: Path
) -> None:
    where = [installed.with_name("python"), "-c", "import taskd; print(taskd.__file__)"]
    place = subprocess.run(where, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert place.startswith(str(installed.parents[1]))
    subprocess.run([installed, "init"], cwd=tmp_path, check=True, timeout=180)
    subprocess.run([installed, "check"], cwd=tmp_path, check=True, timeout=180)
    with running(
        [str(installed), "dev"], tmp_path, TASKD_HTTP__BIND=f"127.0.0.1:{services.free_port()}"
    ) as dev:
        eventually(lambda: "hello  SUCCESS" in dev.output, 60)
        (tmp_path / "schedules/hello.yaml").write_text(
            "schedules: {hello: {task: t, cronttab: '* * * * *'}}\n"
        )
        eventually(lambda: "schedules/hello.yaml:1:30: hello: cronttab: unknown key" in dev.output, 30)
        assert "did you mean 'crontab'?" in dev.output
        assert dev.stop(signal.SIGINT, within=30) == 0
