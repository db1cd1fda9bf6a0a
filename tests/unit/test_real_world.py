"""Schedules of a real service, written as files."""

from collections import Counter
from pathlib import Path

from taskd.schedule.trigger import Crontab
from taskd.source.tree import Tree

FILES = Path(__file__).parents[1] / "data" / "real-world"


def test_all_46_load_without_a_problem() -> None:
    reading = Tree(FILES, "Asia/Shanghai").read()
    assert reading.error is None
    assert [str(problem) for file in reading.files.values() for problem in file.problems] == []
    specs = [declared.spec for file in reading.files.values() for declared in file.schedules]
    assert len({spec.name for spec in specs}) == len(specs) == 46
    assert Counter(spec.schedule_type for spec in specs) == {"crontab": 42, "interval": 4}
    assert {spec.timezone for spec in specs} == {"UTC"}
    assert sum(spec.expires is not None for spec in specs) == 37
    assert sum(spec.queue != "default" for spec in specs) == 10


def test_h_became_a_minute_of_its_own() -> None:
    reading = Tree(FILES, "UTC").read()
    hashed = [
        d.spec for file in reading.files.values() for d in file.schedules if "H" in (d.spec.crontab or "")
    ]
    assert len(hashed) == 2
    for spec in hashed:
        assert isinstance(spec.trigger, Crontab)
        minute, rest = spec.trigger.expression.split(maxsplit=1)
        assert 0 <= int(minute) <= 59
        assert rest == str(spec.crontab)[2:]
