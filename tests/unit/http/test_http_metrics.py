"""What Prometheus is told: every promised name, bounded labels, and what the tables say."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection
from prometheus_client.parser import text_string_to_metric_families

from taskd.http.gathering import Gathering
from taskd.http.metrics import InProcess, Metrics
from taskd.store import events, outbox, workers
from taskd.store.outbox import Message
from tests.unit.http.conftest import Api
from tests.unit.http.test_http_server import served

DEPLOY = Path(__file__).parents[3] / "deploy"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
PROMISED = [
    "taskd_schedule_last_scheduled_timestamp_seconds",
    "taskd_schedule_next_timestamp_seconds",
    "taskd_fire_lateness_seconds",
    "taskd_runs_total",
    "taskd_run_duration_seconds",
    "taskd_queue_wait_seconds",
    "taskd_missed_total",
    "taskd_skipped_total",
    "taskd_refused_deliveries_total",
    "taskd_publish_failures_total",
    "taskd_outbox_unpublished",
    "taskd_outbox_oldest_age_seconds",
    "taskd_dispatch_tick_age_seconds",
    "taskd_leader",
    "taskd_lease_transitions_total",
    "taskd_reconcile_last_success_timestamp_seconds",
    "taskd_config_last_reload_successful",
    "taskd_source_files",
    "taskd_deletions_held",
    "taskd_schedules",
    "taskd_drift_healed_total",
    "taskd_workers_online",
    "taskd_queue_length",
    "taskd_http_requests_total",
    "taskd_http_request_seconds",
]


class Watched:
    """An API whose tables are gathered from."""

    def __init__(self, api: Api, *, schedule_label: bool = True) -> None:
        self.api = api
        self.app = Celery("test", broker="memory://", set_as_current=False)
        self.metrics = Metrics(schedule_label=schedule_label, own=InProcess(leads={"dispatch": lambda: True}))
        self._gathering = Gathering(self.metrics, api.context.database, self.app)
        self._gathering.gather(NOON)

    def samples(self, at: datetime = NOON) -> dict[tuple[str, tuple[str, ...]], float]:
        """Every sample, by name and label values, after another look."""
        self._gathering.gather(at)
        self.metrics._text = None
        families = text_string_to_metric_families(self.metrics.text().decode())
        return {
            (sample.name, tuple(sample.labels.values())): sample.value
            for family in families
            for sample in family.samples
        }


def names(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


def test_every_promised_name_is_there() -> None:
    told = names(Metrics(schedule_label=True).text().decode())
    assert told >= set(PROMISED)


@pytest.mark.parametrize("file", ["prometheus/taskd.rules.yaml", "grafana/taskd.json"])
def test_alerts_and_dashboard_name_what_exists(file: str) -> None:
    told = names(Metrics(schedule_label=True).text().decode())
    named = set(re.findall(r"\btaskd_\w+", (DEPLOY / file).read_text()))
    assert len(named) > 10
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} <= told


def test_the_dashboard_shows_every_promised_name() -> None:
    named = set(re.findall(r"\btaskd_\w+", (DEPLOY / "grafana/taskd.json").read_text()))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named} >= set(PROMISED)


def test_what_has_come_since_is_counted_once(api: Api) -> None:
    pk = api.add("daily", jitter="5m")
    api.ran("before", status="SUCCESS", completed_at=NOON - timedelta(hours=1), schedule_name="daily")
    watched = Watched(api)
    mine: dict[str, Any] = {
        "schedule_id": pk,
        "schedule_name": "daily",
        "kind": "schedule",
        "decided_at": NOON,
    }
    ran = {"started_at": NOON, "published_at": NOON - timedelta(seconds=2), "runtime": 3.0, "queue": "q"}
    api.ran("ok", status="SUCCESS", scheduled_for=NOON - timedelta(hours=2), completed_at=NOON, **mine, **ran)
    api.ran("missed", status="MISSED", scheduled_for=NOON, completed_at=NOON, detail={"count": 4}, **mine)
    api.ran("skip", status="SKIPPED", scheduled_for=NOON - timedelta(1), completed_at=NOON, **mine)
    api.ran("twice", status="FAILURE", completed_at=NOON, detail={"refused": 2})
    for _ in range(3):
        told = watched.samples()
    assert told["taskd_runs_total", ("daily", "SUCCESS")] == 1
    assert told["taskd_runs_total", ("", "FAILURE")] == 1
    assert told["taskd_missed_total", ("daily",)] == 4
    assert told["taskd_skipped_total", ("daily",)] == 1
    assert told["taskd_refused_deliveries_total", ("",)] == 2
    assert told["taskd_run_duration_seconds_sum", ("demo.echo",)] == 3
    assert told["taskd_queue_wait_seconds_sum", ("q",)] == 2
    assert told["taskd_fire_lateness_seconds_count", ()] == 1
    assert 2 * 3600 - 300 <= told["taskd_fire_lateness_seconds_sum", ()] < 2 * 3600


def test_the_tables_are_told_as_they_stand(api: Api) -> None:
    api.add("daily")
    pk = api.ran("waits", status="PENDING")
    message = Message.of(b"", {}, {})

    def work(session: Any) -> None:
        outbox.put(session, [(pk, message, None)], not_before=NOON - timedelta(seconds=9))
        workers.sign_on(session, workers.Worker("w@h", "i", "h", 1, "prefork", ["celery"], []))
        events.record(session, "healed", "reconciler", NOON)

    watched = Watched(api)
    api.context.database.write(work)
    with Connection("memory://") as connection, connection.channel() as channel:
        channel.queue_declare(queue="celery")
    told = watched.samples()
    assert told["taskd_schedules", ("file", "active")] == 1
    assert (
        told["taskd_schedule_next_timestamp_seconds", ("daily",)]
        == datetime(2026, 1, 1, 0, 5, tzinfo=UTC).timestamp()
    )
    assert (told["taskd_outbox_unpublished", ()], told["taskd_outbox_oldest_age_seconds", ()]) == (1, 9)
    assert (told["taskd_workers_online", ()], told["taskd_drift_healed_total", ()]) == (1, 1)
    assert told["taskd_leader", ("dispatch",)] == 1
    assert told["taskd_gathered_timestamp_seconds", ()] == NOON.timestamp()


def test_schedules_that_are_gone_leave_no_series(api: Api) -> None:
    pk = api.add("daily")
    watched = Watched(api)
    assert ("taskd_schedule_next_timestamp_seconds", ("daily",)) in watched.samples()
    api.change(pk, deleted_at=NOON, state="deleted")
    assert not [key for key in watched.samples() if "daily" in key[1]]


def test_without_the_label_no_series_names_a_schedule(api: Api) -> None:
    api.add("daily")
    api.add("beat")
    watched = Watched(api, schedule_label=False)
    api.ran("ok", status="SUCCESS", completed_at=NOON, schedule_name="daily")
    told = watched.samples()
    assert told["taskd_runs_total", ("SUCCESS",)] == 1
    assert ("taskd_schedule_next_timestamp_seconds", ()) in told
    assert not [key for key in told if "daily" in key[1]]


def test_however_many_scrape_it_is_written_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(api)
    first = watched.metrics.text()
    watched.metrics.workers.set(7)
    assert watched.metrics.text() is first
    monkeypatch.setattr("taskd.http.metrics.KEPT", -1.0)
    assert b"taskd_workers_online 7.0" in watched.metrics.text()


async def test_a_scrape_asks_no_database_and_counts_requests(api: Api) -> None:
    watched = Watched(api)
    api.context.database.close()
    context = api.having(metrics=watched.metrics.text, observe=watched.metrics.observe).context
    async with served(context) as client:
        for target in ("/metrics", "/nowhere/at/all", "/metrics"):
            watched.metrics._text = None
            async with client.get(target) as answer:
                text = await answer.text()
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert 'taskd_http_requests_total{method="GET",route="/metrics",status="200"} 1.0' in text
    assert 'taskd_http_requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert api.ask("GET", "/metrics").status == 503
