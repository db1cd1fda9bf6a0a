"""This machine: the time zones it knows, and who may read and change taskd's files."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zoneinfo import TZPATH

from taskd.cli import output
from taskd.cli.checkup.finding import Finding, broken, doubtful, fine
from taskd.config import Settings

_RELEASE = re.compile(r"(?:# version )?(\d{4})(?:\.(\d+)|([a-z]))")


def zone_findings(now: datetime) -> Iterator[Finding]:
    """Which time zone database decides, and how old it is: IANA makes several releases a year."""
    where, release = zone_database()
    found = _RELEASE.match(release)
    if found is None:
        yield doubtful(
            "time zones", f"{where} doesn't say which release it is", "update your system's tzdata package"
        )
    elif now.year - int(found[1]) >= 2:
        remedy = "pip install --upgrade tzdata" if where == "the package tzdata" else "update tzdata"
        yield doubtful("time zones", f"{where} is release {release}: zones have changed since", remedy)
    else:
        yield fine("time zones", f"{where}, release {release}")


def zone_database() -> tuple[str, str]:
    """Where zoneinfo looks first, and its release; '' where that can't be told."""
    for folder in map(Path, TZPATH):
        if folder.is_dir():
            return str(folder), _release_of(folder)
    try:
        return "the package tzdata", version("tzdata")
    except PackageNotFoundError:
        return "the package tzdata", ""


def _release_of(folder: Path) -> str:
    for name, prefix in (("tzdata.zi", "# version "), ("+VERSION", "")):
        try:
            with (folder / name).open(encoding="utf-8") as file:
                return file.readline().removeprefix(prefix).strip()
        except OSError:
            continue
    return ""


def file_findings(settings: Settings, config: Path | None, *, holds_secrets: bool) -> Iterator[Finding]:
    """Permissions of the state folder, the socket, the settings and the schedules."""
    found = [
        *_state_folder(settings.state_dir),
        *_socket(settings.socket_path),
        *(_settings_file(config, holds_secrets=holds_secrets) if config else ()),
        *_schedules(settings.schedules.paths),
    ]
    yield from found
    if not found:
        yield fine("files", "only those who may can read and change them")


def _state_folder(folder: Path) -> Iterator[Finding]:
    if not folder.exists():
        yield doubtful(
            "files", f"{output.near(folder)} isn't there yet", "the first start makes it: `taskd dev`"
        )
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield broken(
            "files",
            f"{output.near(folder)} can't be written by you",
            "run as the user that the daemon runs as, or give it the folder: chown",
        )
    if _mode(folder) & stat.S_IWOTH:
        yield broken(
            "files",
            f"{output.near(folder)} can be written by everybody: anyone could put tasks into the queue",
            f"chmod o-w {folder}",
        )


def _socket(path: Path) -> Iterator[Finding]:
    if path.exists() and _mode(path) & stat.S_IWOTH:
        yield broken(
            "files",
            f"{output.near(path)} lets every user of this machine operate taskd",
            f"chmod 660 {path}",
        )


def _settings_file(path: Path, *, holds_secrets: bool) -> Iterator[Finding]:
    if holds_secrets and _mode(path) & (stat.S_IROTH | stat.S_IWOTH):
        yield broken(
            "files",
            f"{path} holds a secret, and every user can read it",
            f"chmod 640 {path}, or keep the secret in a file of its own: ${{file:/path}}",
        )
    elif _mode(path) & stat.S_IWOTH:
        yield broken("files", f"{path} can be changed by everybody", f"chmod o-w {path}")


def _schedules(paths: Iterable[Path]) -> Iterator[Finding]:
    for path in paths:
        if path.exists() and _mode(path) & stat.S_IWOTH:
            yield broken(
                "files",
                f"{output.near(path)} can be written by everybody: whoever does decides what your workers run",
                f"chmod o-w {path}",
            )


def _mode(path: Path) -> int:
    return path.stat().st_mode
