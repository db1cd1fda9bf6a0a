"""Log lines: one an event, readable by people and programs, without secrets."""

import json
import logging
from collections.abc import Iterator

import pytest

from taskd import logs
from taskd.config import Settings


def line(
    log_format: str, message: str, *args: object, error: Exception | None = None, **extra: object
) -> str:
    """How a record looks."""
    raised = (type(error), error, None) if error else None
    record = logging.getLogger("taskd.dispatch").makeRecord(
        "taskd.dispatch", logging.INFO, __file__, 1, message, args, raised, extra=extra
    )
    record.created = 1_700_000_000.123456
    return logs.OneLine(Settings(logging={"format": log_format})).format(record)


def test_text_is_key_value() -> None:
    assert line("text", "fired %s", "it", schedule="日报", task_id="a-1", late=0.5, empty="") == (
        'time=2023-11-14T22:13:20.123+00:00 level=INFO logger=taskd.dispatch message="fired it"'
        ' schedule=日报 task_id=a-1 late=0.5 empty=""'
    )


def test_json_is_one_object() -> None:
    assert json.loads(line("json", "fired", schedule="日报", facts={"a": [1]})) == {
        "time": "2023-11-14T22:13:20.123+00:00",
        "level": "INFO",
        "logger": "taskd.dispatch",
        "message": "fired",
        "schedule": "日报",
        "facts": {"a": [1]},
    }


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_an_event_is_one_line_whatever_is_in_it(log_format: str) -> None:
    error = ValueError("broken\nin two")
    shown = line(log_format, "failed\n\x1b[31m\x9b1A", error=error, name_of="a\r\nlevel=ERROR")
    assert shown.isprintable()
    assert "ValueError" in shown


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_gets_into_a_line(log_format: str) -> None:
    error = OSError("redis://:s3cr3t@h is away")
    extra = {"kwargs": {"db_password": "s3cr3t"}, "token": "s3cr3t", "url": "https://u:s3cr3t@h/"}
    shown = line(log_format, "at %s", "amqp://u:s3cr3t@h//", error=error, **extra)
    assert "s3cr3t" not in shown
    assert "amqp://u:**@h//" in shown


def test_masking_leaves_json_whole() -> None:
    shown = json.loads(line("json", "at %s", "amqp://u:s3cr3t@h//", by="a@example.com"))
    assert (shown["message"], shown["by"]) == ("at amqp://u:**@h//", "a@example.com")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers.clear()
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_lines_go_to_standard_error_from_the_level_on(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.set_up(Settings(logging={"level": "WARNING"}))
    logging.getLogger("taskd.lease").info("not this")
    logging.getLogger("taskd.lease").warning("lost it", extra={"epoch": 3})
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.endswith('level=WARNING logger=taskd.lease message="lost it" epoch=3\n')
