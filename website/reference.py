"""A hook of mkdocs: the pages of reference that are made from the program itself, at each build.

settings.md from the models and the comments of taskd.yaml.example, command-line.md from click, api-reference.md from
the OpenAPI document, metrics.md from the registry, tables.md from the models of the tables and the kinds of events.
"""

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from sqlalchemy.dialects import postgresql

from taskd.cli import main
from taskd.config import Settings
from taskd.config.environment import SEED
from taskd.config.given import KeyPath, dotted
from taskd.config.mistakes import keys_of
from taskd.http.metrics import Metrics
from taskd.http.openapi import document
from taskd.http.routes import ROUTES
from taskd.store.events import KINDS
from taskd.store.tables import Base

EXAMPLE = Path(__file__).parents[1] / "taskd.yaml.example"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here; others that are there and in no menu come last in it."""
    pages = {
        "settings.md": settings_page(),
        "command-line.md": commands_page(),
        "api-reference.md": api_page(),
        "metrics.md": metrics_page(),
        "tables.md": tables_page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    known = set(_pages(config.nav))
    others = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in known)
    if others:
        assert isinstance(config.nav, list)
        config.nav.append({"More": others})
    return files


def settings_page() -> str:
    """Every key of taskd.yaml with its default, its variables and the comment of the example."""
    notes, defaults = dict(_comments()), yaml.safe_load(EXAMPLE.read_text())
    rows = [
        f"| `{dotted(at)}` | `{_default(defaults, at)}` | {_cell(notes.get(at, ''))} | {_variables(at)} |"
        for at in keys_of(Settings)
    ]
    return "\n".join([_SETTINGS, *rows, ""])


def commands_page() -> str:
    """The help of every command."""
    root = main.make_context("taskd", ["--help"], resilient_parsing=True)
    return "\n".join(["# Command line", "", _COMMANDS, "", *_helps(root, main, "taskd")])


def api_page() -> str:
    """Every route: what it does, what it takes, how it answers."""
    described = document(ROUTES)
    operations = [
        (method.upper(), path, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return "\n".join([_API, *(_operation(*each) for each in operations)])


def metrics_page() -> str:
    """Every metric as a scrape shows it: its kind, its labels, what it says."""
    rows = [
        f"| `{family.name}{'_total' * (family.type == 'counter')}` | {family.type} | {_labels(metric)} | {family.documentation} |"
        for metric in Metrics(schedule_label=True).registry._collector_to_names  # noqa: SLF001  prints no labels of what has no value yet
        for family in metric.describe()
    ]
    return "\n".join([_METRICS, *rows, ""])


def tables_page() -> str:
    """Every table with its columns, then the kinds of events."""
    models = sorted(Base.__subclasses__(), key=lambda model: inspect.getsourcelines(model)[1])
    kinds = [f"| `{kind}` | {means} |" for kind, means in KINDS.items()]
    return "\n".join([_TABLES, *map(_table, models), _EVENTS, *kinds, ""])


def _labels(metric: Any) -> str:
    return ", ".join(f"`{name}`" for name in metric._labelnames)  # noqa: SLF001  it has no other place


def _table(model: type[Base]) -> str:
    notes = dict(_notes(inspect.getsource(model)))
    columns = [
        f"| `{column.name}` | {_type(column)} | {_cell(notes.get(column.name, ''))} |"
        for column in model.__table__.columns
    ]
    return "\n".join(
        [
            f"## {model.__tablename__}\n\n{inspect.getdoc(model)}\n",
            "| column | type | |\n|---|---|---|",
            *columns,
            "",
        ]
    )


def _type(column: Any) -> str:
    """As PostgreSQL has it, and whether it may be empty."""
    made = column.type.compile(postgresql.dialect()).lower()
    return made + (", or null" if column.nullable else "")


def _notes(source: str) -> Iterator[tuple[str, str]]:
    """Column → the heading of its group and the comment beside it."""
    group = ""
    for line in source.splitlines():
        if heading := re.fullmatch(r"    # (\w+: .*)", line):
            group = heading[1]
        elif column := re.match(r"    (\w+): Mapped\b[^#]*(?:# (.*))?", line):
            yield column[1], "; ".join(filter(None, (group, column[2])))


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        f"| `{each['name']}` | {each['in']} | {_cell(_kind(each['schema']))} |"
        for each in operation.get("parameters", [])
        if "name" in each
    ]
    takes = ["", "| parameter | in | value |", "|---|---|---|", *rows] if rows else []
    answers = ", ".join(str(status) for status in operation["responses"])
    told = operation.get("description") or operation.get("summary", "")
    return "\n".join([f"## {method} {path}", "", told, *takes, "", f"Answers: {answers}.", ""])


def _kind(schema: Mapping[str, Any]) -> str:
    """What a parameter may be, in a few words."""
    kinds = [each for each in schema.get("anyOf", [schema]) if each.get("type") != "null"]
    words = [
        ", ".join(map(str, each["enum"])) if "enum" in each else str(each.get("type", "any"))
        for each in kinds
    ]
    default = schema.get("default")
    shown = f"; {default} by default" if isinstance(default, int | str) and default != "" else ""
    return " or ".join(words) + shown


def _helps(parent: click.Context, group: click.Group, path: str) -> Iterator[str]:
    for name in group.list_commands(parent):
        _, command, _ = group.resolve_command(parent, [name])
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, max_content_width=100)
        yield f"{'#' * (2 + path.count(' '))} {path} {name}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            yield from _helps(context, command, f"{path} {name}")


def _comments() -> Iterator[tuple[KeyPath, str]]:
    """Key → the comment above it, in the example; a section's stands with its first key."""
    above: list[str] = []
    path: list[str] = []
    for line in EXAMPLE.read_text().partition("\n\n")[2].splitlines():
        text = line.strip()
        if text.startswith("#"):
            above.append(text.lstrip("# "))
        elif text:
            path[(len(line) - len(line.lstrip())) // 2 :] = [text.partition(":")[0]]
            yield tuple(path), " ".join(above)
            above = []


def _default(defaults: object, at: KeyPath) -> str:
    for key in at:
        assert isinstance(defaults, dict)
        defaults = defaults[key]
    return yaml.safe_dump(defaults, default_flow_style=True, width=1000).removesuffix("...\n").strip()


def _variables(at: KeyPath) -> str:
    seed = [f"`{name}`" for name, path in SEED.items() if path == at]
    return ", ".join([f"`TASKD_{'__'.join(map(str, at)).upper()}`", *seed])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _pages(nav: object) -> Iterator[str]:
    match nav:
        case str():
            yield nav
        case dict():
            for part in nav.values():
                yield from _pages(part)
        case list():
            for part in nav:
                yield from _pages(part)


_SETTINGS = """\
# Settings

`taskd.yaml` is found by `-c`, `$TASKD_CONFIG`, in this folder, or as `/etc/taskd/taskd.yaml`; without one the defaults
serve. `taskd init` writes it with every key, `taskd config` shows what is in effect and where each value comes from.

The environment comes first, then the file, then the default. A file `.env` beside `taskd.yaml` counts as environment.
`${VAR}`, `${VAR:-default}` and `${file:/path}` stand for values from elsewhere, in any text; `$${` is a plain `${`.
Relative paths are relative to the file that names them. A key that isn't known is an error, with a suggestion.

| key | default | meaning | variables |
|---|---|---|---|"""

_METRICS = """\
# Metrics

What `/metrics` serves: made from the registry itself. How to scrape, and which labels are bounded by what, is in
[the guide](api.md#figures-for-prometheus). With `metrics.schedule_label: false` there is no `schedule` among the labels. A
histogram has `_bucket`, `_sum` and `_count`.

| metric | kind | labels | what it says |
|---|---|---|---|"""

_TABLES = """\
# Tables and events

The tables are made from the models, with types as PostgreSQL has them; instants are UTC. Declared, override and observed
columns never mix: who writes a column stands beside it. Reading them is welcome; what is written into them behind taskd's
back is [put right](gitops.md).
"""

_EVENTS = """\
## Kinds of events

Each is a row of `task_event` with its time, who did it (`actor`), the schedule it is about, and what it changed, secrets
masked. They are kept for `events.keep`.

| kind | what was done |
|---|---|"""

_API = """\
# API reference

Made from the document that a daemon serves at `/api/v1/openapi.json`. Who may ask, and how lists, versions and errors
work, is in [the guide](api.md).
"""

_COMMANDS = """\
Exit codes: 0 done, nothing to do; 1 the answer is no (invalid files, an unhealthy check, a run that failed); 2 used
wrongly, or can't run; 3 `taskd plan` has changes.

Data comes on stdout, messages on stderr. `--json` prints one document, or with `tail`, `dev` and `log -f` one a line. What is
piped is plain; on a terminal long work has a bar, and `NO_COLOR` is heeded.

Commands that read or write state ask the API at `--url` or `$TASKD_URL` (with `$TASKD_TOKEN`), else the daemon on this
machine through its socket, else the database itself: the answer is the same. `list`, `trigger`, `pause`, `resume` and
`start` take several names, patterns such as `'report-*'`, and labels (`-l team=ops`).

`eval "$(taskd completion bash)"` lets the shell complete commands, options and names of schedules."""
