"""The keys of a schedule in words, with examples: what an editor shows while one types."""

from typing import Any, NamedTuple


class Described(NamedTuple):
    """What a key means, and values that show how it is written."""

    meaning: str
    examples: tuple[Any, ...] = ()


DURATION = "30s, 5m, 1h30m, 2d, PT30S or whole seconds"
INSTANT = "Wall clock in `timezone`, or with an offset"

KEYS = {
    "task": Described("The registered name of the Celery task.", ("reports.tasks.daily",)),
    "crontab": Described(
        "Due where the wall clock matches: minute, hour, day of month, month, day of week, with seconds before them if "
        "there are six; names, @daily and friends, L, W, #, H for a value hashed from the name.",
        ("0 9 * * mon-fri", "*/5 * * * *", "H 3 * * *", "@daily", "*/10 * * * * *"),
    ),
    "interval": Described(
        f"Due at start_time + k × interval, else counted from 1970. {DURATION}.", ("30s", "5m", "1h30m")
    ),
    "interval_seconds": Described("Another name for `interval`; what answers show.", (30,)),
    "date": Described(f"Due once. {INSTANT}; kept as `start_time`.", ("2026-12-31T23:30:00",)),
    "schedule_type": Described("Follows from the trigger, and must agree with it."),
    "timezone": Described(
        "How crontabs and wall clocks are read: an IANA name; by default the daemon's `timezone`.",
        ("Europe/Berlin", "Asia/Shanghai", "UTC"),
    ),
    "day_match": Described("When a crontab restricts both day fields: either is enough, or both must match."),
    "start_time": Described(
        f"Nothing is due before it; the anchor of an interval. {INSTANT}.", ("2026-01-01T00:00:00",)
    ),
    "end_time": Described(f"Nothing is due after it. {INSTANT}.", ("2026-12-31T23:59:59+01:00",)),
    "args": Described("Positional arguments of the task, JSON values.", (["daily_report"],)),
    "kwargs": Described("Named arguments of the task, JSON values.", ({"to": "ops@example.org"},)),
    "description": Described("What it is for, for people."),
    "enabled": Described("The declared state; operators pause and resume at run time."),
    "one_off": Described("Complete after one scheduled fire."),
    "max_run_count": Described("Complete after so many scheduled fires; 0 is no limit.", (10,)),
    "catchup": Described(
        "What fires of the occurrences that were missed while nothing could fire: none, the latest one, or all.",
        ("none", {"policy": "all", "window": "6h", "max": 50}),
    ),
    "catchup.policy": Described("Which of the late ones fire."),
    "catchup.window": Described(f"What is later than this is missed. {DURATION}.", ("1h",)),
    "catchup.max": Described("At most so many, the newest, with policy all."),
    "overlap": Described(
        "What happens to a fire while an earlier run is active: it fires too, is skipped, waits, or ends the earlier run.",
        ("skip", {"policy": "buffer", "size": 3}),
    ),
    "overlap.policy": Described(
        "allow, skip, buffer (it waits), cancel (revokes the earlier one), terminate (kills it)."
    ),
    "overlap.max_active": Described("How many runs may be active."),
    "overlap.size": Described("How many fires wait at most, with policy buffer."),
    "overlap.stale_after": Described(
        f"How long after a worker took it a run stops being in the way; by default its hard time limit, at least 1h. {DURATION}.",
        ("2h",),
    ),
    "jitter": Described(
        f"Each occurrence is decided later by a delay of its own, up to this. {DURATION}.", ("5m",)
    ),
    "dst": Described(
        "What a crontab does where the clocks jump; by default it follows from its fields.",
        ({"gap": "run_after"}, {"overlap": "both"}),
    ),
    "dst.gap": Described("What the clocks skip fires right after, or not at all."),
    "dst.overlap": Described("What the clocks show twice fires the first time, or both."),
    "pause_after_failures": Described("Pause the schedule after so many final failures in a row.", (5,)),
    "retry": Described(
        "How often a run that fails is tried again, or a map that also says after which pauses.",
        (3, {"max": 5, "backoff": "10s", "backoff_max": "10m"}),
    ),
    "retry.max": Described("Further attempts after the first."),
    "retry.backoff": Described(
        f"The pause before the first of them; it doubles each time. {DURATION}.", ("10s",)
    ),
    "retry.backoff_max": Described(f"The longest pause. {DURATION}.", ("10m",)),
    "retry.jitter": Described("A random part of each pause, at least half of it."),
    "retry.on_worker_lost": Described(
        "Run again too when the worker is gone; only for tasks that may run twice."
    ),
    "queue": Described(
        "The queue that the message goes to; by default Celery's routes decide.", ("reports",)
    ),
    "exchange": Described("The exchange that the message is published to."),
    "routing_key": Described("The routing key of the message."),
    "priority": Described("The priority of the message."),
    "headers": Described("Custom headers of the message.", ({"tenant": "acme"},)),
    "expires": Described(
        f"A message that isn't started in this time is dropped by the worker: the run is REVOKED. {DURATION}.",
        ("10m",),
    ),
    "time_limit": Described(
        f"A run is killed after this; by default the worker's limit. {DURATION}.", ("30m",)
    ),
    "soft_time_limit": Described(
        f"A run is warned, by an exception, after this; shorter than time_limit. {DURATION}.", ("25m",)
    ),
    "replaces": Described(
        "A rename: the schedule of this name goes on under the new one, with its identity, counts and history.",
        ("old-name",),
    ),
    "labels": Described("Selectors for the API and the command line.", ({"team": "finance"},)),
}
"""By key, and by `key.part` where a value is a map of its own."""
