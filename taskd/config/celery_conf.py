"""What `celery.conf` may hold: Celery's own settings, but for those that taskd answers for."""

from difflib import get_close_matches

from celery.app.defaults import SETTING_KEYS

_OWNED = {
    **dict.fromkeys(
        ("broker_url", "broker_read_url", "broker_write_url", "broker_transport"), "set broker.url"
    ),
    **{f"broker_{part}": "set broker.*" for part in ("host", "port", "user", "password", "vhost")},
    **dict.fromkeys(
        ("beat_schedule", "beat_scheduler", "beat_schedule_filename"), "declare schedules in files"
    ),
    **{
        key: f"set celery.{key}"
        for key in (
            "imports",
            "result_backend",
            "task_serializer",
            "result_serializer",
            "accept_content",
            "enable_utc",
            "task_track_started",
            "task_time_limit",
        )
    },
    "include": "set celery.imports",
    "timezone": "set timezone",
    "result_accept_content": "set celery.accept_content",
    "event_serializer": "events are JSON",
}


def checked_key(key: str) -> str:
    """`key`, if it may stand in `celery.conf`; raises ValueError."""
    if key in _OWNED:
        raise ValueError(f"taskd answers for it; {_OWNED[key]} instead")
    if key not in SETTING_KEYS:
        near = get_close_matches(key, SETTING_KEYS, n=1)
        raise ValueError("Celery has no such setting" + (f", did you mean {near[0]!r}?" if near else ""))
    return key
