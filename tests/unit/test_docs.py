"""What the guides show works as it stands."""

import re
from pathlib import Path

import pytest

from taskd.schedule.spec import declared_keys
from taskd.source.yamlfile import read_file

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{n}")
    for page in sorted(DOCS.glob("*.md"))
    for n, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    if "schedules:" in block and "paths:" not in block
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_schedules_loads_without_a_word(example: str) -> None:
    reading = read_file(example.encode(), "docs.yaml", "Asia/Shanghai")
    assert reading.problems == ()
    assert reading.schedules


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


def test_every_key_of_a_schedule_has_its_row_in_the_table() -> None:
    table = (DOCS / "schedule-files.md").read_text().partition("## Keys")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(declared_keys())
