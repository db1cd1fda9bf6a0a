"""Which schedules a command is about: NAME, a pattern of names, labels. Several of them only if the words may mean several."""

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

import click
from click.decorators import FC
from click.shell_completion import CompletionItem

from taskd.cli import output
from taskd.cli.client import Client, Refused, connect
from taskd.cli.invocation import Invocation
from taskd.cli.settings import settings_of
from taskd.errors import NotFound, TaskdError

_WILD = frozenset("*?[")


def completed_name(ctx: click.Context, _param: click.Parameter, begun: str) -> list[CompletionItem]:
    """The schedules whose names begin so; none where nobody can be asked: a shell wants no complaint."""
    try:
        invocation = ctx.ensure_object(Invocation)
        with ctx.scope():  # which closes the database, where it is asked itself
            found = connect(invocation, settings_of(invocation)).get("scheduler", "schedulers", "all")
    except (TaskdError, OSError):
        return []
    return [CompletionItem(each["name"]) for each in found if each["name"].startswith(begun)]


def _label(_ctx: click.Context, _param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """`key=value` as the API has it, `key:value`."""
    for each in given:
        if not all(each.partition("=")):
            raise click.BadParameter(f"{each!r} isn't key=value")
    return tuple(each.replace("=", ":", 1) for each in given)


_name = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completed_name)
_labels = click.option("-l", "--label", "labels", multiple=True, callback=_label, metavar="KEY=VALUE",
                       help="Those with this label; with several, those that have all of them.")  # fmt: skip


def selecting(command: FC) -> FC:
    """The parameters `names` and `labels`."""
    return _name(_labels(command))


def matching(client: Client, names: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The schedules with all of `labels`, of any name or of those that `names` mean; raises NotFound for a word that means none."""
    found = client.get("scheduler", "schedulers", "all", label=labels or None)
    if not found:
        raise NotFound(f"there is no schedule{_labelled(labels)}")
    meant = {each["name"] for word in names for each in _meant(word, found, labels)}
    return [each for each in found if not names or each["name"] in meant]


def each_of(
    client: Client, names: Sequence[str], labels: Sequence[str], act: Callable[[str], dict[str, Any]]
) -> tuple[list[dict[str, Any]], bool]:
    """What `act` answers for each schedule that is meant, and whether all went well: of several, one's refusal is only said."""
    if may_be_one(names, labels):
        return [act(names[0])], True
    done, refused = [], 0
    for name in _addressed(client, names, labels):
        try:
            done.append(act(name))
        except Refused as error:
            refused += 1
            output.say(f"taskd: {error}")
    return done, not refused


def may_be_one(names: Sequence[str], labels: Sequence[str]) -> bool:
    """Whether the words can't mean several; raises a usage error where they mean all by saying nothing."""
    if not names and not labels:
        raise click.UsageError("Name schedules, or give labels: '*' means all.")
    return len(names) == 1 and not labels and not _is_pattern(names[0])


def _addressed(client: Client, names: Sequence[str], labels: Sequence[str]) -> list[str]:
    if not labels and not any(map(_is_pattern, names)):
        return list(dict.fromkeys(names))  # names or ids, which the API knows
    return [each["name"] for each in matching(client, names, labels)]


def _meant(word: str, found: Sequence[dict[str, Any]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """The schedule of just that name, or those that it is a pattern of."""
    exact = [each for each in found if each["name"] == word]
    meant = exact or [each for each in found if _is_pattern(word) and fnmatchcase(each["name"], word)]
    if not meant:
        what = f"whose name is like {word!r}" if _is_pattern(word) else repr(word)
        raise NotFound(f"there is no schedule {what}{_labelled(labels)}")
    return meant


def _is_pattern(word: str) -> bool:
    return not _WILD.isdisjoint(word)


def _labelled(labels: Sequence[str]) -> str:
    shown = " and ".join(each.replace(":", "=", 1) for each in labels)
    return f" with the label {shown}" if shown else ""
