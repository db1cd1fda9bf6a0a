"""Deletions that look like a mistake, as a person meets them: on `taskd dev`'s screen, with the command that helps."""

import re

from tests.acceptance.installations import Installation, said
from tests.acceptance.processes import TASKD, taskd
from tests.waiting import eventually

COMMAND = re.compile(r"taskd (sync --approve [0-9a-f]{16})")


def test_held_schedules_fire_on_until_the_command_on_the_screen_is_called(place: Installation) -> None:
    def conditions(name: str) -> list[str]:
        schedule = place.schedule(name)
        return [each["type"] for each in schedule.conditions] if schedule else []

    names = [f"s{n}" for n in range(6)]
    place.beats(*names)
    dev = said(place.start([*TASKD, "dev"]), "Ctrl-C stops everything")
    place.goes_on("s5")

    place.beats("s0")
    said(
        dev, "5 deletions held (more than 3 schedules and 20 % of them would go at once): s1, s2, s3, s4, s5"
    )
    assert conditions("s5") == ["DeletionHeld"]
    place.goes_on("s5")

    place.beats("s0", "s1")
    eventually(lambda: not conditions("s1"))
    said(dev, "4 deletions held")
    commands = list(dict.fromkeys(COMMAND.findall(dev.output)))
    assert len(commands) == 2  # each told once
    told = [taskd(place.folder, *command.split(), **place.environ) for command in commands]
    assert told[0].returncode == 2
    assert "now there are 4 deletions held" in told[0].stderr
    assert told[1].returncode == 0, told[1].stderr
    assert [name for name in names if (found := place.schedule(name)) and not found.deleted_at] == [
        "s0",
        "s1",
    ]
    place.goes_on("s0")
    assert dev.stop(within=30) == 0
