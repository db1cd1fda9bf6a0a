"""What a tree is called in the status and the events, with git as it is on this machine."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from taskd.source import git as git_module
from taskd.source.revision import Revision
from taskd.source.tree import Tree

ONE = "schedules:\n  a: {task: t, interval: 9}\n"
TWO = "schedules:\n  b: {task: t, interval: 9}\n"
Git = Callable[..., str]


def in_folder(folder: Path) -> Git:
    environ = {
        **os.environ,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        **{f"GIT_{who}_{what}": f"Ada{'@x.org' * (what == 'EMAIL')}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }  # fmt: skip

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, env=environ, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    return git


@pytest.fixture
def git(tmp_path: Path) -> Git:
    """A repository in `here` with two files of schedules in `here/deploy`, committed."""
    deploy = tmp_path / "here" / "deploy"
    deploy.mkdir(parents=True)
    git = in_folder(tmp_path / "here")
    git("init", "-q", "-b", "main")
    (deploy / "a.yaml").write_text(ONE)
    (deploy / "b.yaml").write_text(TWO)
    (tmp_path / "here" / "README").write_text("not a schedule")
    git("add", ".")
    git("commit", "-q", "-m", "Begin\nat last\n\nBecause.")
    return git


@pytest.fixture
def deploy(git: Git, tmp_path: Path) -> Path:
    return tmp_path / "here" / "deploy"


def revision(root: Path) -> Revision:
    return Tree(root, "UTC").read().revision


def test_a_checkout_is_called_by_its_commit_with_author_and_subject(git: Git, deploy: Path) -> None:
    head = git("rev-parse", "HEAD")
    expected = Revision(head, "Ada <Ada@x.org>", "Begin at last")
    assert revision(deploy) == expected
    assert revision(deploy.parent) == expected
    assert revision(deploy / "a.yaml") == expected
    git("checkout", "-q", "--detach")
    assert revision(deploy) == expected
    git("checkout", "-q", "main")
    git("pack-refs", "--all")
    git("gc", "-q")
    assert revision(deploy) == expected


def test_the_next_commit_is_seen_by_the_same_tree(git: Git, deploy: Path) -> None:
    tree = Tree(deploy, "UTC")
    tree.read()
    git("commit", "-q", "--allow-empty", "-m", "Nothing new")
    assert tree.read().revision == Revision(git("rev-parse", "HEAD"), "Ada <Ada@x.org>", "Nothing new")


@pytest.mark.parametrize("change", ["edited", "added", "deleted"])
def test_files_that_the_commit_does_not_have_make_it_dirty(git: Git, deploy: Path, change: str) -> None:
    tree = Tree(deploy, "UTC")
    clean = tree.read().revision.name
    match change:
        case "edited":
            (deploy / "a.yaml").write_text(TWO)
        case "added":
            (deploy / "c.yaml").write_text("")
        case "deleted":
            (deploy / "b.yaml").unlink()
    assert tree.read().revision.name == f"{clean}+dirty"
    git("checkout", "-q", ".")
    (deploy / "c.yaml").unlink(missing_ok=True)
    assert tree.read().revision.name == clean


def test_what_is_no_schedule_file_does_not_make_it_dirty(git: Git, deploy: Path) -> None:
    (deploy / "notes.txt").write_text("mine")
    (deploy / ".a.yaml.swp").write_text("mine")
    (deploy.parent / "README").write_text("edited")
    (deploy / "link.yaml").symlink_to("a.yaml")
    git("add", "-f", "deploy/link.yaml")
    git("commit", "-q", "-m", "Link")
    assert revision(deploy).name == git("rev-parse", "HEAD")


def test_linked_worktrees_and_submodules_have_commits_of_their_own(
    git: Git, deploy: Path, tmp_path: Path
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second")
    git("worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"), "HEAD~1")
    assert revision(tmp_path / "linked" / "deploy").subject == "Begin at last"
    (tmp_path / "outer").mkdir()
    outer = in_folder(tmp_path / "outer")
    outer("init", "-q")
    outer("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(deploy.parent), "inner")
    outer("commit", "-q", "-m", "Outer")
    assert revision(tmp_path / "outer" / "inner" / "deploy").subject == "Second"
    assert revision(tmp_path / "outer").subject == "Outer"


def test_git_sync_s_layout_gives_the_commit_even_where_its_repository_is_elsewhere(
    git: Git, deploy: Path, tmp_path: Path
) -> None:
    commit = git("rev-parse", "HEAD")
    bare = in_folder(tmp_path)
    bare("clone", "-q", "--bare", str(deploy.parent), "volume/.git")
    in_folder(tmp_path / "volume")("worktree", "add", "-q", "--detach", f".worktrees/{commit}", commit)
    (tmp_path / "volume" / "current").symlink_to(f".worktrees/{commit}")
    root = tmp_path / "volume" / "current" / "deploy"
    assert revision(root) == Revision(commit, "Ada <Ada@x.org>", "Begin at last")
    (tmp_path / "volume" / ".git").rename(tmp_path / "elsewhere")
    assert revision(root) == Revision(commit)


def test_repositories_by_sha256_are_read_too(tmp_path: Path) -> None:
    git = in_folder(tmp_path)
    git("init", "-q", "--object-format=sha256")
    (tmp_path / "a.yaml").write_text(ONE)
    git("add", ".")
    git("commit", "-q", "-m", "Longer")
    assert revision(tmp_path) == Revision(git("rev-parse", "HEAD"), "Ada <Ada@x.org>", "Longer")
    assert len(revision(tmp_path).name) == 64


def test_nothing_of_the_repository_is_run_or_obeyed(git: Git, deploy: Path, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {touched}\n")
    trap.chmod(0o755)
    for key in ("core.fsmonitor", "core.sshCommand", "core.pager", "filter.x.clean", "filter.x.smudge"):
        git("config", key, str(trap))
    (deploy.parent / ".git" / "info" / "attributes").write_text("* filter=x\n")
    hooks = deploy.parent / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name in ("post-checkout", "post-index-change", "reference-transaction"):
        (hooks / name).write_text(trap.read_text())
        (hooks / name).chmod(0o755)
    with (deploy.parent / ".git" / "config").open("a") as config:
        config.write("[core]\n\tgarbage that no git would read\n[")
    assert revision(deploy).subject == "Begin at last"
    assert not touched.exists()


def test_a_subject_that_would_move_the_cursor_is_defused(git: Git, deploy: Path) -> None:
    git("commit", "-q", "--allow-empty", "-m", "\x1b[2J\x07red" + "x" * 500)
    subject = revision(deploy).subject
    assert subject is not None
    assert subject.isprintable()
    assert len(subject) <= 200


@pytest.mark.parametrize("fault", ["none", "fails", "hangs"])
def test_without_the_help_of_git_the_id_is_still_known(
    git: Git, deploy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    head = git("rev-parse", "HEAD")
    folder = tmp_path / "bin"
    folder.mkdir()
    if fault != "none":
        (folder / "git").write_text(
            "#!/bin/sh\nexit 1\n" if fault == "fails" else "#!/bin/sh\nexec /bin/sleep 60\n"
        )
        (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(git_module, "TIMEOUT", 0.2)
    git_module._asked.cache_clear()
    assert revision(deploy) == Revision(head)
    git_module._asked.cache_clear()


@pytest.mark.parametrize(
    "head",
    ["", "ref: refs/heads/nowhere\n", "ref: ../../../etc/passwd\n", "ref: /etc/passwd\n", "\xff\x00", "ref: refs/heads\n"],
)  # fmt: skip
def test_a_head_that_leads_nowhere_leaves_the_digest(git: Git, deploy: Path, head: str) -> None:
    (deploy.parent / ".git" / "HEAD").write_text(head)
    reading = Tree(deploy, "UTC").read()
    assert reading.revision == Revision(reading.digest)


def test_a_pipe_in_the_place_of_head_holds_up_nothing(git: Git, deploy: Path) -> None:
    (deploy.parent / ".git" / "HEAD").unlink()
    os.mkfifo(deploy.parent / ".git" / "HEAD")
    reading = Tree(deploy, "UTC").read()
    assert reading.revision == Revision(reading.digest)


def test_an_unchanged_checkout_starts_no_program(
    git: Git, deploy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree(deploy, "UTC")
    first = tree.read().revision
    monkeypatch.setattr(git_module.subprocess, "run", None)
    assert tree.read().revision == first


def test_a_swapped_link_gives_the_name_of_what_it_leads_to(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        (tmp_path / "releases" / version / "schedules").mkdir(parents=True)
        (tmp_path / "releases" / version / "schedules" / "a.yaml").write_text(ONE)
    current = tmp_path / "current"
    current.symlink_to("releases/v1")
    below, root = Tree(current / "schedules", "UTC"), Tree(current, "UTC")
    assert [tree.read().revision.name for tree in (below, root)] == ["v1", "v1"]
    (tmp_path / "next").symlink_to("releases/v2")
    (tmp_path / "next").rename(current)
    assert [tree.read().revision.name for tree in (below, root)] == ["v2", "v2"]


def test_a_link_to_what_no_table_takes_gives_the_digest(tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\n")
    odd.mkdir()
    (tmp_path / "current").symlink_to(odd)
    reading = Tree(tmp_path / "current", "UTC").read()
    assert reading.revision.name == reading.digest


def test_a_config_map_has_the_name_of_its_generation(tmp_path: Path) -> None:
    (tmp_path / "..2026_06_01_12_00_00.1").mkdir()
    (tmp_path / "..2026_06_01_12_00_00.1" / "a.yaml").write_text(ONE)
    (tmp_path / "..data").symlink_to("..2026_06_01_12_00_00.1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert revision(tmp_path).name == "..2026_06_01_12_00_00.1"


def test_a_plain_folder_has_the_digest_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(ONE)
    first = revision(tmp_path)
    (tmp_path / "a.yaml").write_text(TWO)
    second = revision(tmp_path)
    assert first != second
    assert len(first.name) == len(second.name) == 32
