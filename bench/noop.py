"""Tasks of the real-world names that do nothing: what remains is taskd's own work."""

from pathlib import Path

import yaml
from celery import shared_task

FILES = Path(__file__).parents[1] / "tests" / "data" / "real-world"


def noop() -> None:
    """Nothing."""


NAMES = sorted(
    {
        schedule["task"]
        for file in FILES.glob("*.yaml")
        for schedule in yaml.safe_load(file.read_text())["schedules"].values()
    }
)
TASKS = [shared_task(name=name)(noop) for name in NAMES]
