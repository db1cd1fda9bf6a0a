"""Where schedule files come from: real git checkouts, swapped links, folders that go away; and SIGHUP."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.acceptance.installations import LEADS, Installation, said
from tests.acceptance.processes import Running
from tests.acceptance.watched import HALF_A_MINUTE, Watched, text
from tests.integration.workers import ROOT
from tests.waiting import eventually


class Git:
    """A repository's folder; the developer is always Ada."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        identity = {f"GIT_{who}_{what}": "ada@x.org" if what == "EMAIL" else "Ada" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}  # fmt: skip
        self._environ = {
            **os.environ,
            **identity,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=self.folder, env=self._environ, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, subject: str, **files: str) -> str:
        """Write `files`, commit all; the commit's id."""
        for name, content in files.items():
            (self.folder / f"{name}.yaml").write_text(content)
        self("add", "-A")
        self("commit", "-q", "-m", subject)
        return self("rev-parse", "HEAD")


def swap(link: Path, target: str) -> None:
    """As git-sync and the kubelet do it."""
    new = link.with_name(link.name + ".new")
    new.symlink_to(target)
    new.rename(link)


def test_a_checkout_is_followed_wherever_git_goes(place: Installation) -> None:
    hub, checkout, seen = place.folder / "hub", place.folder / "checkout", Watched(place)
    hub.mkdir()
    upstream = Git(hub)
    upstream("init", "-q", "-b", "main")
    first = upstream.commit("Begin", a=text(milk="one"), b=text(bread="one"))
    upstream("checkout", "-q", "-b", "feature")
    feature = upstream.commit("Try tea", c=text(tea="feature"))
    upstream("checkout", "-q", "main")
    Git(place.folder)("clone", "-q", str(hub), "checkout")
    git = Git(checkout)
    config = place.folder / "taskd.yaml"
    config.write_text("timezone: UTC\n")
    place.worker()
    daemon = place.daemon(
        until=LEADS,
        TASKD_SCHEDULES__PATHS=str(checkout),
        TASKD_SCHEDULES__POLL="2s",
        TASKD_CONFIG=str(config),
    )
    seen.becomes(milk="one", bread="one")
    place.goes_on("milk")

    second = upstream.commit("More milk", a=text(milk="two"))
    git("pull", "-q", "--ff-only")
    status, _ = seen.ask("POST", "/sync?wait=30s")
    assert (status, seen.living()) == (200, {"milk": "two", "bread": "one"})
    event = seen.last_event("milk")
    assert event
    assert (event.kind, event.revision) == ("updated", second)
    assert event.detail == {"author": "Ada <ada@x.org>", "subject": "More milk"}
    [source] = seen.ask("GET", "/sync")[1]["sources"]
    assert (source["revision_seen"], source["revision_applied"]) == (second, second)
    assert source["applied_commit"] == event.detail
    assert source["last_pass"]["updated"] == 1

    git("reset", "-q", "--hard", first)
    seen.becomes(milk="one", bread="one")
    git("checkout", "-q", "-b", "feature", "origin/feature")
    seen.becomes(milk="one", bread="one", tea="feature")
    eventually(lambda: seen.source(checkout).revision_applied == feature, HALF_A_MINUTE)
    (checkout / "c.yaml").write_text(text(tea="mine"))
    seen.becomes(milk="one", bread="one", tea="mine")
    eventually(lambda: seen.source(checkout).revision_applied == f"{feature}+dirty", HALF_A_MINUTE)

    # broken, then a restart, edited meanwhile: everything goes on
    (checkout / "c.yaml").write_text(text(tea="x") + "    cron: never\n")
    eventually(lambda: seen.conditions(checkout) == ["Stale"], HALF_A_MINUTE)
    assert daemon.stop(within=15) == 0
    (checkout / "c.yaml").write_text("schedules: {tea: {task: t}}\n")
    git("commit", "-q", "-a", "-m", "Half of it")
    daemon = place.daemon(
        until="c.yaml:1:13",
        TASKD_SCHEDULES__PATHS=str(checkout),
        TASKD_SCHEDULES__POLL="2s",
        TASKD_CONFIG=str(config),
    )
    place.goes_on("tea")
    place.goes_on("milk")
    assert seen.source(checkout).revision_applied == f"{feature}+dirty"
    assert seen.living()["tea"] == "mine"

    _reloads(seen, daemon, config, checkout / "c.yaml")
    place.goes_on("milk")
    assert daemon.stop(within=15) == 0


def _reloads(seen: Watched, daemon: Running, config: Path, file: Path) -> None:
    """SIGHUP: the files are read, settings are compared, nothing ends."""
    config.write_text("timezone: UTC\nhttp: {allowed_hosts: [jobs.example.org]}\nlogging: {level: DEBUG}\n")
    file.write_text(text(tea="three"))
    daemon.process.send_signal(signal.SIGHUP)
    said(daemon, "take effect at the next start: http.allowed_hosts, logging.level")
    seen.becomes(milk="one", bread="one", tea="three")
    config.write_text("timezone: UTC\nhtpp: {}\n")
    daemon.process.send_signal(signal.SIGHUP)
    said(daemon, "the settings stay as they are: ")
    assert seen.ask("POST", "/sync?wait=30s")[0] == 200


def test_the_script_of_the_guide_returns_once_what_it_pulled_is_applied(place: Installation) -> None:
    guide = (ROOT / "docs" / "sources.md").read_text()
    [script] = [
        block
        for block in re.findall(r"^```sh\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
        if "taskd-pull" in block
    ]
    hub, seen = place.folder / "hub.git", Watched(place)
    Git(place.folder)("init", "-q", "--bare", "-b", "main", str(hub))
    for name in ("author", "deployed"):
        Git(place.folder)("clone", "-q", str(hub), name)
    author = Git(place.folder / "author")
    author("checkout", "-q", "-b", "main")
    author.commit("Begin", a=text(milk="one"))
    author("push", "-q", "-u", "origin", "main")
    Git(place.folder / "deployed")("pull", "-q", "origin", "main")
    socket = place.folder / "state" / "taskd.sock"
    pull = place.folder / "taskd-pull"
    pull.write_text(script.replace("/srv/schedules", str(place.folder / "deployed")).replace("/var/lib/taskd/taskd.sock", str(socket)))  # fmt: skip
    assert pull.read_text().count(str(place.folder)) == 2
    pull.chmod(0o755)
    place.daemon(
        until="ready, leading",
        TASKD_SCHEDULES__PATHS=str(place.folder / "deployed"),
        TASKD_SCHEDULES__POLL="1h",
    )
    assert seen.living() == {"milk": "one"}
    for version in ("two", "three"):
        commit = author.commit(f"Version {version}", a=text(milk=version))
        author("push", "-q")
        done = subprocess.run([pull], check=False, capture_output=True, text=True, timeout=180)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert seen.living() == {"milk": version}
        assert seen.source(place.folder / "deployed").revision_applied == commit


def test_roots_that_are_swapped_go_away_and_hold_strange_things(place: Installation) -> None:
    seen = Watched(place)
    plain, config_map, link = place.schedules, place.folder / "map", place.folder / "current"
    (config_map / "..v1").mkdir(parents=True)
    (config_map / "..v1" / "map.yaml").write_text(text(map="one"))
    (config_map / "..data").symlink_to("..v1")
    (config_map / "map.yaml").symlink_to("..data/map.yaml")
    for version in ("r1", "r2"):
        (place.folder / version).mkdir()
        (place.folder / version / "link.yaml").write_text(text(link=version))
    link.symlink_to("r1")
    (plain / "a.yaml").write_text(text(milk="one"))
    (plain / "b.yaml").write_text(text(bread="one"))
    roots = json.dumps([str(plain), str(config_map), str(link)])
    place.worker()
    daemon = place.daemon(until=LEADS, TASKD_SCHEDULES__PATHS=roots, TASKD_SCHEDULES__POLL="2s")
    seen.becomes(milk="one", bread="one", map="one", link="r1")

    (config_map / "..v2").mkdir()
    (config_map / "..v2" / "map.yaml").write_text(text(map="two"))
    swap(config_map / "..data", "..v2")
    swap(link, "r2")
    seen.becomes(milk="one", bread="one", map="two", link="r2")
    eventually(lambda: seen.source(config_map).revision_applied == "..v2", HALF_A_MINUTE)
    eventually(lambda: seen.source(link).revision_applied == "r2", HALF_A_MINUTE)

    _goes_away_and_comes_back(seen, plain)
    assert seen.living() == {"milk": "one", "bread": "one", "map": "two", "link": "r2"}

    # a pipe, a link outwards, an empty and a half-written file in the place of one: the last good state goes on
    def a_pipe(file: Path) -> None:
        file.unlink()
        os.mkfifo(file)

    def a_link_outwards(file: Path) -> None:
        file.unlink()
        file.symlink_to("/etc/passwd")

    def half_a_file(file: Path) -> None:
        file.unlink()
        file.write_text(text(milk="two")[:40])

    for strange in (a_pipe, a_link_outwards, half_a_file):
        _becomes_strange(seen, plain, strange)
        place.goes_on("milk")
        assert seen.living()["milk"] == "one"
    (plain / "a.yaml").write_text(text(milk="three"))
    seen.becomes(milk="three", bread="one", map="two", link="r2")
    kinds = seen.kinds("milk")
    assert (kinds[0], kinds[-1]) == ("updated", "created")
    assert "deletion_held" in kinds
    assert "deleted" not in kinds
    place.goes_on("milk")
    assert daemon.stop(within=15) == 0


def _goes_away_and_comes_back(seen: Watched, plain: Path) -> None:
    """Nothing is deleted, and its schedules fire."""
    place, away = seen.place, seen.place.folder / "away"
    plain.rename(away)
    eventually(lambda: "Unreadable" in seen.conditions(plain), HALF_A_MINUTE)
    place.goes_on("milk")
    plain.mkdir()  # the mount point
    eventually(lambda: seen.conditions(plain) == ["DeletionHeld"], HALF_A_MINUTE)
    place.goes_on("milk")
    plain.rmdir()
    away.rename(plain)
    eventually(lambda: seen.conditions(plain) == ["Ready"], HALF_A_MINUTE)


def _becomes_strange(seen: Watched, root: Path, strange: Callable[[Path], None]) -> None:
    before = seen.source(root).revision_seen
    strange(root / "a.yaml")

    def noticed() -> bool:
        source = seen.source(root)
        return source.revision_seen != before and seen.conditions(root) == ["Stale"]

    eventually(noticed, HALF_A_MINUTE)
