"""`/metrics` for Prometheus: every name in one place, of labels that are bounded: schedule, task, queue, status.

A scrape prints what is kept in memory and asks nobody, once for all who ask in five seconds; `gathering` keeps it up
to date. Counters
begin at 0 with the process. Daemons on one database tell the same of it: aggregate with `max`, or scrape one of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics import MetricWrapperBase

from taskd import clock
from taskd.http.exchange import Answer, Context, Raw, Request
from taskd.http.forms import Nothing, query_of
from taskd.http.problems import Problem

Times = tuple[str, float, float]
"""A schedule's name, when it was due last and is due next, in seconds since 1970; 0 for never."""

_LAST, _NEXT = "schedule_last_scheduled_timestamp_seconds", "schedule_next_timestamp_seconds"
KEPT = 5.0  # seconds: with thousands of schedules it takes tenths of one to write
_SHORT = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_LONG = (0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 3600)
_WAITS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


@dataclass(frozen=True, slots=True)
class InProcess:
    """What this process alone knows, asked at a scrape; none of it waits."""

    tick_age: Callable[[], float] = lambda: 0.0
    publish_failures: Callable[[], float] = lambda: 0.0
    last_pass: Callable[[], float] = lambda: 0.0
    leads: Mapping[str, Callable[[], bool]] = field(default_factory=dict)


class Metrics:
    """All of them, in a registry of their own. `schedule_label` off: the figures of all schedules together."""

    def __init__(self, *, schedule_label: bool, own: InProcess | None = None) -> None:
        self.registry = CollectorRegistry()
        self.by_schedule = schedule_label
        self._schedules: set[str] = set()
        self._labelled: list[MetricWrapperBase] = []
        self._times: Sequence[Times] = ()
        self._writing, self._text, self._written = Lock(), cast("bytes | None", None), 0.0
        own = own or InProcess()
        by = self._of_schedules
        self.last = by(Gauge, _LAST, "Due time of the last fire.")
        self.next = by(Gauge, _NEXT, "When it is due next.")
        self.runs = by(Counter, "runs", "Runs that have ended.", ["status"])
        self.missed = by(Counter, "missed", "Due times that were missed.")
        self.skipped = by(Counter, "skipped", "Due times that were skipped: overlap, pause, deletion.")
        self.refused = by(Counter, "refused_deliveries", "Second deliveries that no worker began.")
        self.lateness = self._new(
            Histogram, "fire_lateness_seconds", "From due, jitter included, to decided.", buckets=_WAITS
        )
        self.duration = self._new(
            Histogram, "run_duration_seconds", "How long bodies ran.", ["task"], buckets=_LONG
        )
        self.wait = self._new(
            Histogram, "queue_wait_seconds", "From published to begun.", ["queue"], buckets=_WAITS
        )
        self.unpublished = self._new(
            Gauge, "outbox_unpublished", "Messages that wait for the broker or their time."
        )
        self.oldest = self._new(
            Gauge, "outbox_oldest_age_seconds", "How long the oldest due message has waited."
        )
        self.transitions = self._new(Gauge, "lease_transitions_total", "Changes of leadership.", ["lease"])
        self.loaded = self._new(Gauge, "config_last_reload_successful", "1 where no schedule file is broken.")
        self.files = self._new(Gauge, "source_files", "Schedule files.", ["state"])
        self.held = self._new(Gauge, "deletions_held", "Deletions that wait for approval.")
        self.schedules = self._new(Gauge, "schedules", "Schedules.", ["state", "owner"])
        self.healed = self._new(
            Counter, "drift_healed", "Schedules put right that something else had changed."
        )
        self.workers = self._new(Gauge, "workers_online", "Workers that give signs of life.")
        self.queue_length = self._new(Gauge, "queue_length", "Messages that are ready.", ["queue"])
        self.gathered = self._new(Gauge, "gathered_timestamp_seconds", "When the tables were last looked at.")
        self.requests = self._new(Counter, "http_requests", "Requests.", ["method", "route", "status"])
        self.answered = self._new(
            Histogram, "http_request_seconds", "Until the answer began.", ["route"], buckets=_SHORT
        )
        self._new(Gauge, "dispatch_tick_age_seconds", "Since the dispatcher came round.").set_function(
            own.tick_age
        )
        self._new(
            Gauge, "publish_failures_total", "How often the broker, or a queue, took nothing."
        ).set_function(own.publish_failures)
        self._new(Gauge, "reconcile_last_success_timestamp_seconds", "The last whole pass.").set_function(
            own.last_pass
        )
        leader = self._new(Gauge, "leader", "1 where this process leads.", ["role"])
        for role, leads in own.leads.items():
            leader.labels(role).set_function(leads)

    def of(self, metric: Any, schedule: str | None, *labels: str) -> Any:
        """The metric's child for a schedule, or for all where schedules have no label."""
        given = (schedule or "", *labels) if self.by_schedule else labels
        if self.by_schedule and schedule:
            self._schedules.add(schedule)
        return metric.labels(*given) if given else metric

    def tell_times(self, times: Sequence[Times]) -> None:
        """When all schedules were due last, and are due next."""
        if self.by_schedule:
            self._times = times
        else:
            self.last.set(max((last for _, last, _ in times), default=0.0))
            self.next.set(min((due for _, _, due in times if due), default=0.0))

    def keep_only(self, schedules: Iterable[str]) -> None:
        """Forget the figures of schedules that are gone, so that labels stay bounded."""
        living = set(schedules)
        for name in self._schedules - living:
            for metric in self._labelled:
                metric.remove_by_labels({"schedule": name})
        self._schedules &= living

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self.requests.labels(method, route, status).inc()
        self.answered.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All in Prometheus' text format, at most KEPT seconds old: however many ask, it is written once."""
        with self._writing:
            if self._text is None or clock.monotonic() - self._written > KEPT:
                self._text, self._written = self._generated(), clock.monotonic()
            return self._text

    def _generated(self) -> bytes:
        """The library's text, and in it the times, which it would write ten times as slowly."""
        text = generate_latest(self.registry).decode()
        for name, place in ((f"taskd_{_LAST}", 1), (f"taskd_{_NEXT}", 2)):
            samples = (f'{name}{{schedule="{_escaped(each[0])}"}} {each[place]}\n' for each in self._times)
            head = f"# TYPE {name} gauge\n"
            text = text.replace(head, head + "".join(samples))
        return text.encode()

    def _of_schedules(self, kind: Any, name: str, about: str, labels: Iterable[str] = (), **more: Any) -> Any:
        mine = ["schedule", *labels] if self.by_schedule else list(labels)
        metric = self._new(kind, name, about, mine, **more)
        if self.by_schedule:
            self._labelled.append(metric)
        return metric

    def _new(self, kind: Any, name: str, about: str, labels: Iterable[str] = (), **more: Any) -> Any:
        return kind(f"taskd_{name}", about, list(labels), registry=self.registry, **more)


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def metrics(context: Context, request: Request) -> Answer:
    """Prometheus' text format."""
    query_of(Nothing, request)
    if context.metrics is None:
        raise Problem(503, "this process gathers no metrics: ask the daemon")
    return Answer(200, Raw(context.metrics()), {"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})
