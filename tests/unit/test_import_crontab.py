"""`import crontab`."""

from typing import Any

import pytest

from taskd.schedule.spec import ScheduleSpec
from tests.importing import specs_of
from tests.unit.conftest import Workplace

OURS = """\
# m h dom mon dow command
SHELL=/bin/bash
MAILTO="ops@example.org"
PATH=/usr/bin:/bin
  */5 * * * * /usr/local/bin/poll --fast "a b"
0 2 * * sun cd /srv && ./backup.sh | gzip > /tmp/x
CRON_TZ=Europe/Berlin
30 9 * * mon mail -s hi%line one%50\\% off
@daily tidy
@reboot warm-up
"""


def imported(place: Workplace, text: str, *words: str) -> tuple[str, dict[str, ScheduleSpec]]:
    (place.folder / "tab").write_text(text)
    shown = place.taskd("import", "crontab", "tab", *words).stdout
    return shown, dict(specs_of(shown))


def call(spec: ScheduleSpec) -> dict[str, Any]:
    return {key: value for key, value in spec.kwargs.items() if key != "env"}


def test_each_line_becomes_a_run_of_its_command(place: Workplace) -> None:
    text, found = imported(place, OURS, "--tz", "Asia/Tokyo")
    assert {name: (spec.crontab, spec.timezone) for name, spec in found.items()} == {
        "poll": ("*/5 * * * *", "Asia/Tokyo"),
        "backup.sh": ("0 2 * * sun", "Asia/Tokyo"),
        "mail": ("30 9 * * mon", "Europe/Berlin"),
        "tidy": ("@daily", "Europe/Berlin"),
    }
    assert {spec.task for spec in found.values()} == {"taskd.tasks.run_command"}
    assert call(found["poll"]) == {"argv": ["/usr/local/bin/poll", "--fast", "a b"]}
    assert call(found["backup.sh"]) == {"argv": ["/bin/bash", "-c", "cd /srv && ./backup.sh | gzip > /tmp/x"]}
    assert call(found["mail"]) == {"argv": ["mail", "-s", "hi"], "stdin": "line one\n50% off\n"}
    assert found["tidy"].kwargs["env"] == {"PATH": "/usr/bin:/bin"}
    assert "# line 10: @reboot warm-up" not in text.partition("not carried over")[0]
    assert "it runs when the machine starts: a systemd unit does that" in text


def test_without_a_zone_it_is_read_in_that_of_the_settings(place: Workplace) -> None:
    (place.folder / "taskd.yaml").write_text("timezone: Europe/Paris\n")
    assert imported(place, "0 0 * * * x\n")[1]["x"].timezone == "Europe/Paris"


def test_the_column_of_users_is_told(place: Workplace) -> None:
    text, found = imported(place, "17 * * * * root cd / && run-parts /etc/cron.hourly\n", "--system")
    assert list(found) == ["run-parts"]
    assert "# it ran as root: give it the queue of a worker that runs as that user" in text


@pytest.mark.parametrize(
    ("line", "expression", "match"),
    [
        ("0 0 */2 * mon x", "0 0 */2 * mon", "and"),  # cron(8): a day field that begins with * restricts the other
        ("0 0 13 * fri x", "0 0 13 * fri", None),  # either day
        ("0~59 3 * * * x", "H(0-59) 3 * * *", None),
        ("@annually x", "@yearly", None),
    ],
)  # fmt: skip
def test_cron_reads_days_its_own_way(place: Workplace, line: str, expression: str, match: str | None) -> None:
    spec = imported(place, f"{line}\n")[1]["x"]
    assert (spec.crontab, spec.day_match) == (expression, match)


def test_equal_commands_get_names_of_their_own(place: Workplace) -> None:
    assert list(imported(place, "0 0 * * * /x/run\n0 1 * * * /y/run\n")[1]) == ["run", "run-2"]


@pytest.mark.parametrize("line", ["0 0 * * *", "61 0 * * * x", "@sometimes x", "0 0 30 2 * x", "rubbish"])
def test_a_line_that_cron_would_refuse_is_a_comment(place: Workplace, line: str) -> None:
    text, found = imported(place, f"{line}\n0 0 * * * fine\n")
    assert list(found) == ["fine"]
    assert "not carried over: " in text


def test_what_a_line_quotes_stays_in_its_comment(place: Workplace) -> None:
    text, found = imported(place, "0 0 * * * echo 'a\x85b: [' \x0b#\n")
    assert len(found) == 1
    assert all(line.startswith("  #") for line in text.splitlines() if "line 1:" in line)


def test_a_file_that_is_not_there_is_named(place: Workplace) -> None:
    assert place.complaint("import", "crontab", "gone") == "taskd: gone: No such file or directory"
