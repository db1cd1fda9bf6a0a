"""Results of a run, written after each figure: a run that is interrupted keeps what it has."""

import json
import os
import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

LIMITS = {
    "send_task": "Celery's `send_task` in a loop",
    "message": "building a message",
    "lpush": "LPUSH in a pipeline",
    "sqlite_claim": "a durable claim in SQLite",
}

OTHERS = {
    "steady": "steady load: lateness of the confirmation, in seconds",
    "large": "start to first fire in seconds, memory in bytes, by number of schedules",
    "failover": "seconds from the signal to the standby's first message, the longest of three",
}


@dataclass(frozen=True)
class Herd:
    """`seconds` from the minute to the last message; `cpu` seconds of the daemon meanwhile."""

    who: str
    n: int
    seconds: float | None
    cpu: float | None = None


class Results:
    """What has been measured so far; herd.json, herd.md in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._herds: list[Herd] = []
        self._figures: dict[str, dict[str, float]] = {}
        self._at, self._load = datetime.now(UTC), os.getloadavg()
        self._machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"

    def add(self, herd: Herd) -> None:
        """One more herd."""
        self._herds.append(herd)
        took = "–" if herd.seconds is None else f"{herd.seconds:.3f} s"
        cpu = "" if herd.cpu is None else f", CPU {herd.cpu:.2f} s"
        print(f"{herd.who:40} {herd.n:7} {took}{cpu}", flush=True)
        self._write()

    def note(self, name: str, figures: dict[str, float]) -> None:
        """Figures that aren't of a herd."""
        self._figures[name] = figures
        print(name, json.dumps(figures), flush=True)
        self._write()

    def _write(self) -> None:
        self._folder.mkdir(exist_ok=True, parents=True)
        told = {
            "at": self._at.isoformat(),
            "machine": self._machine,
            "load_before": self._load,
            "load_after": os.getloadavg(),
            **self._figures,
            "herds": [asdict(each) for each in self._herds],
        }
        (self._folder / "herd.json").write_text(json.dumps(told, indent=2) + "\n")
        (self._folder / "herd.md").write_text("\n".join(self._sections()) + "\n")

    def _sections(self) -> list[str]:
        loads = " to ".join(
            "/".join(f"{load:.1f}" for load in each) for each in (self._load, os.getloadavg())
        )
        sections = [f"{self._at:%Y-%m-%d %H:%M} UTC, {self._machine}, load {loads}", ""]
        if self._herds:
            sections += [table(self._herds), ""]
        if limits := self._figures.get("limits"):
            sections += ["| alone, per second | |", "|---|---|"]
            sections += [f"| {LIMITS[name]} | {number:,.0f} |" for name, number in limits.items()] + [""]
        for name, title in OTHERS.items():
            if figures := self._figures.get(name):
                sections += [f"| {title} | |", "|---|---|"]
                sections += [f"| {key} | {number:,.3f} |" for key, number in figures.items()] + [""]
        return sections[:-1]


def table(herds: list[Herd]) -> str:
    """The herds as Markdown."""
    sizes = sorted({herd.n for herd in herds})
    lines = [
        "| seconds until all messages stand in the broker | " + " | ".join(f"{n:,}" for n in sizes) + " |"
    ]
    lines.append("|---|" + "---|" * len(sizes))
    for who in dict.fromkeys(herd.who for herd in herds):
        found = {herd.n: herd.seconds for herd in herds if herd.who == who}
        cells = [
            "" if n not in found else "–" if (took := found[n]) is None else f"{took:.2f}" for n in sizes
        ]
        lines.append(f"| {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
