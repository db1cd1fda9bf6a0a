"""`taskd tail`: the same on each way, from before the daemon is there until after it was gone."""

import json
import signal
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.acceptance.installations import Installation, said
from tests.acceptance.processes import TASKD, Running
from tests.waiting import eventually

PATIENCE = 60.0  # seconds


def told(tail: Running) -> list[dict[str, Any]]:
    """Its JSON lines; what it says beside them is no JSON, and the last may be half written."""
    lines = tail.output.rpartition("\n")[0].splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def ended(tail: Running) -> set[str]:
    """The runs whose success it has told."""
    runs = [message["data"] for message in told(tail) if message["event"] == "run"]
    return {run["task_id"] for run in runs if run["status"] == "SUCCESS"}


@pytest.mark.slow  # six processes
@pytest.mark.timeout(300)
def test_every_way_tells_of_every_run_also_over_a_restart(place: Installation) -> None:
    tail = [*TASKD, "tail", "--json"]
    tables = said(place.start(tail), '"leader"', PATIENCE)
    place.beats("beat")
    daemon = place.daemon()
    place.worker()
    socket = said(place.start(tail), '"leader"', PATIENCE)
    url = [*TASKD, "tail", "--url", f"http://127.0.0.1:{place.port}"]
    people = said(place.start(url), "led by", PATIENCE)
    began = datetime.now(UTC)
    eventually(lambda: ended(tables), PATIENCE, 0.5)
    eventually(lambda: ended(socket), PATIENCE, 0.5)
    said(people, "beat  SUCCESS", PATIENCE)
    assert daemon.stop(signal.SIGTERM, PATIENCE) == 0
    said(socket, "no taskd answers at", PATIENCE)
    place.daemon()
    place.goes_on("beat", PATIENCE)
    # What was fired or ended while they were cut off, they are told when they come again.
    runs = {run.task_id for run in place.runs("beat", "SUCCESS") if run.decided_at and run.decided_at > began}
    eventually(lambda: runs <= ended(tables), PATIENCE, 0.5)
    eventually(lambda: runs <= ended(socket), PATIENCE, 0.5)
    said(people, "it is back", PATIENCE)
    assert {"fired", "change", "source", "worker"} <= {message["event"] for message in told(tables)}
    assert "beat  fired" in people.output
    for each in (tables, socket, people):
        assert each.stop(signal.SIGINT, PATIENCE) == 0
