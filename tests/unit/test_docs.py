"""What the guides show works as it stands."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from taskd.cli import main
from taskd.config import Settings, load
from taskd.config.given import dotted
from taskd.config.mistakes import keys_of
from taskd.http.metrics import Metrics
from taskd.http.routes import ROUTES
from taskd.schedule.spec import declared_keys
from taskd.source.yamlfile import read_file
from taskd.store.events import KINDS
from taskd.store.tables import Base

TABLES = Base.metadata.sorted_tables
DOCS = Path(__file__).parents[2] / "docs"
EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{n}")
    for page in sorted(DOCS.glob("*.md"))
    for n, block in enumerate(re.findall(r"^```ya?ml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    if "schedules:" in block and "paths:" not in block and "apiVersion:" not in block
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_schedules_loads_without_a_word(example: str) -> None:
    reading = read_file(example.encode(), "docs.yaml", "Asia/Shanghai")
    assert reading.problems == ()
    assert reading.schedules


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 6


def test_every_key_of_a_schedule_has_its_row_in_the_table() -> None:
    table = (DOCS / "schedule-files.md").read_text().partition("## Keys")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(declared_keys())


def test_the_settings_that_the_guide_to_the_api_shows_are_read(tmp_path: Path) -> None:
    (shown,) = re.findall(
        r"^```yaml\n(http:.*?)^```", (DOCS / "api.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (tmp_path / "taskd.yaml").write_text(shown)
    http = load(tmp_path / "taskd.yaml", {}).http
    assert [token.name for token in http.tokens] == ["grafana", "deploy", "prometheus"]


SETTINGS = [
    pytest.param(block, id=f"{page.stem}-{n}")
    for page in sorted(DOCS.glob("*.md"))
    for n, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE))
    if re.match(r"(?:#.*\n)*(?:environment|timezone|celery|tasks|http|schedules:\n  paths):", block)
]


@pytest.mark.parametrize("example", SETTINGS)
def test_an_example_of_settings_loads(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text("postgresql://taskd@db/taskd\n")
    path = tmp_path / "taskd.yaml"
    path.write_text(example.replace("/etc/taskd/database-url", str(tmp_path / "secret")))
    load(path, {})


def test_there_are_examples_of_settings() -> None:
    assert len(SETTINGS) >= 4


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: str(page.stem))
def test_what_is_shown_in_python_is_python(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        exec(compile(block, page.name, "exec"), {"__name__": page.stem})


def test_the_manifests_for_kubernetes_hold_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (text,) = re.findall(
        r"^```yaml\n(.*?)^```", (DOCS / "kubernetes.md").read_text(), re.DOTALL | re.MULTILINE
    )
    configmap, deployment = yaml.safe_load_all(text)
    for name, content in configmap["data"].items():
        assert read_file(content.encode(), name, "UTC").problems == ()
    pod = deployment["spec"]["template"]["spec"]
    (daemon,) = pod["containers"]
    settings = load(None, {each["name"]: each["value"] for each in daemon["env"]} | {"OPS_TOKEN": "x" * 32})
    assert settings.http.tokens
    volumes = {each["name"] for each in pod["volumes"]}
    assert {each["name"] for each in daemon["volumeMounts"]} == volumes
    assert pod["volumes"][0]["configMap"]["name"] == configmap["metadata"]["name"]


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site"],
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    made = (tmp_path / "site/settings/index.html").read_text()
    assert all(dotted(at) in made for at in keys_of(Settings))
    commands = (tmp_path / "site/command-line/index.html").read_text()
    assert all(f"taskd {name}" in commands for name in main.commands)
    api = (tmp_path / "site/api-reference/index.html").read_text()
    assert all(f"{route.method} {route.path}" in api for route in ROUTES)
    metrics = (tmp_path / "site/metrics/index.html").read_text()
    scraped = Metrics(schedule_label=True).text().decode()
    names = {line.split()[2] for line in scraped.splitlines() if line.startswith("# TYPE ")}
    assert all(
        re.search(rf"<code>{name.removesuffix('_created')}(_total)?</code>", metrics) for name in names
    )
    tables = (tmp_path / "site/tables/index.html").read_text()
    assert all(f"<code>{column.name}</code>" in tables for table in TABLES for column in table.columns)
    assert all(f"<code>{kind}</code>" in tables for kind in KINDS)
