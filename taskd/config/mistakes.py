"""What pydantic found wrong, in sentences: where it stands, which key, what to do."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from taskd.config.given import Given, KeyPath, dotted
from taskd.config.models import Settings

# Where pydantic's own words are about Python.
_PLAINER = {
    "string_type": "should be text; put it in quotes",
    "string_sub_type": "should be text; put it in quotes",
    "model_type": "should be a mapping of keys",
    "dict_type": "should be a mapping of keys",
    "tuple_type": "should be a list",
}


def explained(error: ValidationError, sources: Sequence[Given], known: Sequence[str]) -> Iterator[str]:
    """A sentence for each mistake, but for those in values that `known` speaks of already."""
    for details in error.errors(include_url=False, include_input=False):
        at = tuple(key for key in details["loc"] if key != "[key]")
        origin = next((place for source in sources if (place := source.origin(at))), None)
        start = "".join(f"{part}: " for part in (origin, dotted(at)) if part)
        if not start or not any(sentence.startswith(start) for sentence in known):
            yield start + _reason(details, at)


def _reason(details: ErrorDetails, at: KeyPath) -> str:
    kind = details["type"]
    if kind == "extra_forbidden":
        return f"unknown key{_suggestion(at)}"
    if kind == "value_error":
        return str(details["ctx"]["error"])
    return _PLAINER.get(kind) or details["msg"].replace("Input should", "should")


def keys_of(model: type[BaseModel], above: KeyPath = ()) -> Iterator[KeyPath]:
    """The path of every key that holds a value, not a section."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from keys_of(field.annotation, (*above, name))
        else:
            yield (*above, name)


def _suggestion(at: KeyPath) -> str:
    model: type[BaseModel] = Settings
    for section in at[:-1]:
        if isinstance(section, str):  # else a place in a list, whose members `model` is already
            model = _model_in(model.model_fields[section].annotation)
    names = [*model.model_fields, *map(dotted, keys_of(model))]  # `broker_url` may mean `broker.url`
    near = get_close_matches(str(at[-1]), names, n=1)
    return f", did you mean {near[0]!r}?" if near else f"; there are {', '.join(model.model_fields)}"


def _model_in(annotation: Any) -> type[BaseModel]:
    """The section that a field is, or holds a list of."""
    kinds = (annotation, *get_args(annotation))
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
