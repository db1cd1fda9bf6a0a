"""Retry: how often a run that fails is tried again, and after which pauses. Pure; `chance` stands for the dice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, with_config

from taskd.errors import InvalidSchedule
from taskd.schedule.fields import EXACT, Delay, Seconds

MOST = 1000


@with_config(EXACT)
@dataclass(frozen=True, slots=True)
class Retry:
    """`max` further attempts; before the n-th (from 0) a pause of `backoff · 2ⁿ` seconds, at most `backoff_max`.

    `jitter`: of each pause a random part, at least half of it. `on_worker_lost`: a run whose worker is gone is run
    again too, under a new task id.
    """

    max: Annotated[int, Field(strict=True, ge=0, le=MOST)] = 5
    backoff: Delay = 1
    backoff_max: Seconds = 600
    jitter: Annotated[bool, Field(strict=True)] = True
    on_worker_lost: Annotated[bool, Field(strict=True)] = False

    def pause(self, attempt: int, chance: float) -> float:
        """Seconds before the attempt after the `attempt`-th (from 0); `chance` is in [0, 1)."""
        longest = float(min(self.backoff * 2 ** min(attempt, 40), self.backoff_max))
        return longest * (0.5 + chance / 2) if self.jitter else longest

    def column(self) -> dict[str, Any]:
        """As `options` keeps it: how often, and what differs from the default."""
        return {key: value for key, value in asdict(self).items() if key == "max" or value != _DEFAULT[key]}


_DEFAULT = asdict(Retry())
_whole = TypeAdapter(Retry)


def _read(given: object) -> Retry:
    if type(given) is int:
        return Retry(max=_times.validate_python(given))
    if isinstance(given, dict | Retry):
        return _whole.validate_python(given)
    raise InvalidSchedule("is how often to try again, such as 3, or a map: {max: 3, backoff: 10s}")


def _meaningful(retry: Retry) -> Retry:
    if retry.max == 0 and retry != Retry(max=0):
        raise InvalidSchedule("max 0 tries nothing again: take the other keys out")
    if retry.backoff > retry.backoff_max:
        raise InvalidSchedule(f"backoff is longer than backoff_max ({retry.backoff_max}s)")
    return retry


Times = Annotated[int, Field(ge=0, le=MOST)]
_times: TypeAdapter[int] = TypeAdapter(Times)
RetryKey = Annotated[
    Retry, BeforeValidator(_read, json_schema_input_type=Times | Retry), AfterValidator(_meaningful)
]


def retry_of(options: Mapping[str, Any]) -> Retry | None:
    """What an `options` column, or a message's header, says; None where it says nothing, or nothing that is valid."""
    said = options.get("retry")
    try:
        return Retry(**said) if isinstance(said, Mapping) else None
    except TypeError:
        return None
