"""Queries and bodies → typed values. What is unknown is refused with a suggestion, never ignored."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, TypeVar
from unicodedata import normalize

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from taskd.errors import InvalidSchedule
from taskd.http.exchange import Request
from taskd.http.problems import InvalidRequest
from taskd.schedule.json_value import flaws

LARGEST_PAGE = 200


class Form(BaseModel):
    """A query or a body; `not_yet` are keys that a later version will take."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    not_yet: ClassVar[Collection[str]] = ()

    @classmethod
    def known(cls) -> list[str]:
        """The keys as a client writes them."""
        return [info.alias or name for name, info in cls.model_fields.items()]


F = TypeVar("F", bound=Form)


def query_of(form: type[F], request: Request) -> F:
    """The query; raises InvalidRequest. A parameter given more than once is a list."""
    given: dict[str, Any] = {}
    for name, value in request.query:
        given[name] = value if name not in given else [*_several(given[name]), value]
    return _validated(form, "query", given)


def body_of(form: type[F], request: Request) -> F:
    """The body, an object or nothing; raises InvalidRequest."""
    return _validated(form, "body", {} if request.body is None else request.body)


def _validated(form: type[F], where: str, given: Any) -> F:
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise InvalidRequest(where, error, form.known(), form.not_yet) from error


def _several(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _instant(value: Any) -> datetime:
    # An unencoded `+` of an offset arrives as a space.
    text = value[:-6] + value[-6:].replace(" ", "+") if isinstance(value, str) else ""
    try:
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise ValueError("must be an instant with its offset, such as 2026-12-31T23:30:00+08:00")


def _json(value: Any) -> Any:
    for at, sentence in flaws(value):
        place = "".join(f"[{part!r}]" for part in at)
        raise InvalidSchedule(f"{place}: {sentence}" if place else sentence)
    return value


Instant = Annotated[datetime, BeforeValidator(_instant)]
Json = AfterValidator(_json)
Repeatable = BeforeValidator(_several)
Name = Annotated[str, AfterValidator(lambda text: normalize("NFC", text))]
Sentence = Annotated[str, Field(max_length=1000), Json]
Pk = int | Annotated[str, Field(min_length=1, max_length=155), Json]
"""An id, or a name or task_id."""


class Paging(Form):
    """Which part of a list: `size` items of the `page`th, from 1."""

    page: int = Field(1, ge=1, le=1_000_000)
    size: int = Field(20, ge=1, le=LARGEST_PAGE)


class Nothing(Form):
    """No parameters at all."""
