"""The recipes of docs/sources.md: units, manifests and settings are what systemd, Kubernetes and taskd take."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from taskd.config import load
from taskd.http.routes import ROUTES
from taskd.source.yamlfile import read_file

TEXT = (Path(__file__).parents[2] / "docs" / "sources.md").read_text()
BLOCKS = [
    (match[1], match[2]) for match in re.finditer(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
]
UNITS = {match[1]: text for kind, text in BLOCKS if kind == "ini" and (match := re.match(r"# /etc/systemd/system/(\S+)\n", text))}  # fmt: skip
MANIFESTS = [list(yaml.safe_load_all(text)) for kind, text in BLOCKS if kind == "yaml"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_units_verify_without_a_word(tmp_path: Path) -> None:
    assert set(UNITS) == {"taskd-pull.service", "taskd-pull.timer"}
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace("/usr/local/bin/taskd-pull", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert [line for line in (done.stdout + done.stderr).splitlines() if "taskd-pull" in line] == []


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["git-sync", "config-map"])
def test_a_manifest_mounts_what_it_has_and_selects_what_it_makes(manifest: list[Any]) -> None:
    config_map, deployment = manifest
    assert (config_map["kind"], deployment["kind"]) == ("ConfigMap", "Deployment")
    template = deployment["spec"]["template"]
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    named = [volume["configMap"]["name"] for volume in volumes.values() if "configMap" in volume]
    assert named == [config_map["metadata"]["name"]]
    mounted = [mount for container in template["spec"]["containers"] for mount in container["volumeMounts"]]
    assert {mount["name"] for mount in mounted} == set(volumes)
    assert all("subPath" not in mount for mount in mounted)


def test_the_settings_of_the_git_sync_manifest_load(tmp_path: Path) -> None:
    (tmp_path / "taskd.yaml").write_text(MANIFESTS[0][0]["data"]["taskd.yaml"])
    settings = load(tmp_path / "taskd.yaml", {"TASKD_DATABASE__URL": "postgresql://db/taskd"})
    assert [str(path) for path in settings.schedules.paths] == ["/git/current/schedules"]
    assert settings.database_url.get_secret_value().startswith("postgresql")


def test_git_sync_calls_a_route_that_is_there() -> None:
    [_, deployment] = MANIFESTS[0]
    [_, git_sync] = deployment["spec"]["template"]["spec"]["containers"]
    flags = dict(arg.removeprefix("--").split("=", 1) for arg in git_sync["args"])
    url = urlsplit(flags["webhook-url"])
    assert (url.netloc, url.query) == ("127.0.0.1:8470", "wait=30s")
    assert ("POST", url.path) in {(route.method, route.path) for route in ROUTES}
    settings = yaml.safe_load(MANIFESTS[0][0]["data"]["taskd.yaml"])
    assert settings["schedules"]["paths"] == [f"{flags['root']}/{flags['link']}/schedules"]
    places = [
        mount["mountPath"]
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for mount in container["volumeMounts"]
        if mount["name"] == "git"
    ]
    assert places == [flags["root"]] * 2


def test_the_schedules_of_the_config_map_load_without_a_word() -> None:
    for name, text in MANIFESTS[1][0]["data"].items():
        reading = read_file(text.encode(), name, "UTC")
        assert reading.problems == ()
        assert reading.schedules
