import os
import socket
from pathlib import Path

import pytest

from taskd.source import tree as tree_module
from taskd.source.tree import Tree, TreeReading

ONE = "schedules:\n  a: {task: t, interval: 9}\n"
TWO = "schedules:\n  b: {task: t, interval: 9}\n"
BROKEN = "schedules:\n  a: {task: t}\n"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty root called `root` in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("root").mkdir()
    return Path("root")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths that were parsed, in order."""
    paths: list[str] = []
    real = tree_module.read_file

    def spy(data: bytes, path: str, timezone: str) -> object:
        paths.append(path)
        return real(data, path, timezone)

    monkeypatch.setattr(tree_module, "read_file", spy)
    return paths


def names(reading: TreeReading) -> dict[str, list[str]]:
    return {path: [d.spec.name for d in file.schedules] for path, file in reading.files.items()}


def problems(reading: TreeReading) -> list[str]:
    return [str(problem) for file in reading.files.values() for problem in file.problems]


def test_yaml_files_are_found_recursively_and_paths_are_as_given(root: Path) -> None:
    (root / "a.yaml").write_text(ONE)
    (root / "x" / "y").mkdir(parents=True)
    (root / "x" / "y" / "b.yml").write_text(TWO)
    reading = Tree("root", "UTC").read()
    assert reading.error is None
    assert names(reading) == {"root/a.yaml": ["a"], "root/x/y/b.yml": ["b"]}


def test_errors_can_be_clicked_on(root: Path) -> None:
    (root / "a.yaml").write_text(BROKEN)
    assert problems(Tree("root", "UTC").read()) == [
        "root/a.yaml:2:3: a: no trigger: give crontab, interval or date"
    ]
    absolute = root.absolute()
    assert problems(Tree(absolute, "UTC").read())[0].startswith(f"{absolute}/a.yaml:2:3: ")
    os.chdir(root)
    assert problems(Tree(".", "UTC").read())[0].startswith("a.yaml:2:3: ")


@pytest.mark.parametrize(
    "name", [".a.yaml", "a.yaml~", ".a.yaml.swp", "#a.yaml#", ".#a.yaml", "a.yaml.tmp", "a.json", "a.yaml.bak", "README"]
)  # fmt: skip
def test_hidden_files_backups_and_others_are_ignored(root: Path, name: str) -> None:
    (root / name).write_text("not: [yaml")
    (root / ".git").mkdir()
    (root / ".git" / "a.yaml").write_text("not: [yaml")
    reading = Tree("root", "UTC").read()
    assert (reading.files, reading.error) == ({}, None)


def test_a_root_may_be_one_file(root: Path) -> None:
    (root / "a.yaml").write_text(ONE)
    assert names(Tree("root/a.yaml", "UTC").read()) == {"root/a.yaml": ["a"]}
    (root / "link").symlink_to("a.yaml")
    assert names(Tree("root/link", "UTC").read()) == {"root/link": ["a"]}


def test_an_unchanged_tree_parses_nothing(root: Path, parsed: list[str]) -> None:
    (root / "a.yaml").write_text(ONE)
    (root / "b.yaml").write_text(BROKEN)
    tree = Tree("root", "UTC")
    first = tree.read()
    assert first.changed == {"root/a.yaml", "root/b.yaml"}
    parsed.clear()
    for _ in range(3):
        again = tree.read()
        assert again.changed == frozenset()
        assert (again.revision, again.files) == (first.revision, first.files)
    assert parsed == []


def test_after_being_seen_twice_a_file_is_not_even_opened(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.yaml").write_text(ONE)
    tree = Tree("root", "UTC")
    tree.read()
    tree.read()
    monkeypatch.setattr(tree_module.os, "open", None)
    assert names(tree.read()) == {"root/a.yaml": ["a"]}


def test_a_touched_file_is_hashed_but_not_parsed(root: Path, parsed: list[str]) -> None:
    (root / "a.yaml").write_text(ONE)
    tree = Tree("root", "UTC")
    tree.read()
    tree.read()
    parsed.clear()
    os.utime(root / "a.yaml", ns=(1, 1))
    assert tree.read().changed == frozenset()
    assert parsed == []


def test_a_write_that_leaves_size_and_times_alike_is_seen(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two writes in one tick of the file system's clock differ in nothing but the content.
    monkeypatch.setattr(
        tree_module,
        "_signature",
        lambda status: tree_module._Signature(status.st_mode, status.st_size, 0, 0, 0, 0),
    )
    (root / "a.yaml").write_text(ONE)
    tree = Tree("root", "UTC")
    tree.read()
    (root / "a.yaml").write_text(TWO)
    assert names(tree.read()) == {"root/a.yaml": ["b"]}


def test_what_changed_is_told_by_path_and_revision(root: Path) -> None:
    (root / "a.yaml").write_text(ONE)
    (root / "b.yaml").write_text(TWO)
    tree = Tree("root", "UTC")
    before = tree.read()
    (root / "a.yaml").write_text(BROKEN)
    (root / "b.yaml").rename(root / "c.yaml")
    after = tree.read()
    assert after.changed == {"root/a.yaml", "root/b.yaml", "root/c.yaml"}
    assert after.revision != before.revision
    (root / "a.yaml").write_text(ONE)
    (root / "c.yaml").rename(root / "b.yaml")
    assert tree.read().revision == before.revision


def test_one_bad_file_leaves_the_others(root: Path) -> None:
    (root / "a.yaml").write_bytes(b"\xff")
    (root / "b.yaml").write_text(TWO)
    reading = Tree("root", "UTC").read()
    assert reading.error is None
    assert [file.broken for file in reading.files.values()] == [True, False]
    assert names(reading)["root/b.yaml"] == ["b"]


def test_a_missing_root_is_an_error_that_passes(root: Path) -> None:
    tree = Tree("root", "UTC")
    (root / "a.yaml").write_text(ONE)
    tree.read()
    root.rename("away")
    missing = tree.read()
    assert (missing.error, missing.files) == ("root: No such file or directory", {})
    Path("away").rename("root")
    back = tree.read()
    assert (back.error, names(back)) == (None, {"root/a.yaml": ["a"]})


def test_links_within_the_root_are_followed(root: Path) -> None:
    """As Kubernetes lays out a ConfigMap."""
    (root / "..2026" / "sub").mkdir(parents=True)
    (root / "..2026" / "a.yaml").write_text(ONE)
    (root / "..2026" / "sub" / "b.yaml").write_text(TWO)
    (root / "..data").symlink_to("..2026")
    (root / "a.yaml").symlink_to("..data/a.yaml")
    (root / "sub").symlink_to("..data/sub")
    assert names(Tree("root", "UTC").read()) == {"root/a.yaml": ["a"], "root/sub/b.yaml": ["b"]}


def test_a_swapped_link_changes_all_at_once(root: Path, parsed: list[str]) -> None:
    """As git-sync and ConfigMaps do it."""
    for name, text in (("v1", ONE), ("v2", TWO)):
        Path(name).mkdir()
        Path(name, "f.yaml").write_text(text)
    current = Path("current")
    current.symlink_to("v1")
    tree = Tree(current, "UTC")
    assert names(tree.read()) == {"current/f.yaml": ["a"]}
    Path("next").symlink_to("v2")
    Path("next").rename(current)
    after = tree.read()
    assert names(after) == {"current/f.yaml": ["b"]}
    assert after.changed == {"current/f.yaml"}


def test_a_root_swapped_while_it_is_read_is_read_anew(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("v1", ONE), ("v2", TWO)):
        Path(name).mkdir()
        Path(name, f"{name}.yaml").write_text(text)
    Path("current").symlink_to("v1")
    real = tree_module.read_file

    def swap(data: bytes, path: str, timezone: str) -> object:
        Path("next").symlink_to("v2")
        Path("next").rename("current")
        return real(data, path, timezone)

    monkeypatch.setattr(tree_module, "read_file", swap)
    reading = Tree("current", "UTC").read()
    assert (names(reading), reading.error) == ({"current/v2.yaml": ["b"]}, None)


def test_links_out_of_the_root_are_refused(root: Path) -> None:
    Path("outside").mkdir()
    Path("outside/o.yaml").write_text(ONE)
    Path("root-beside.yaml").write_text(ONE)
    (root / "file.yaml").symlink_to("../outside/o.yaml")
    (root / "folder").symlink_to("../outside")
    (root / "prefix.yaml").symlink_to("../root-beside.yaml")
    (root / "ok.yaml").write_text(TWO)
    here = Path.cwd().resolve()
    reading = Tree("root", "UTC").read()
    assert problems(reading) == [
        f"root/{name}:1:1: is a link out of the root, to {here}/{target}: move what it points to here"
        for name, target in (
            ("file.yaml", "outside/o.yaml"), ("folder", "outside"), ("prefix.yaml", "root-beside.yaml"),
        )
    ]  # fmt: skip
    assert names(reading)["root/ok.yaml"] == ["b"]


def test_links_in_a_circle_end(root: Path) -> None:
    (root / "x").mkdir()
    (root / "x" / "a.yaml").write_text(ONE)
    (root / "x" / "up").symlink_to("..")
    (root / "loop.yaml").symlink_to("loop.yaml")
    (root / "gone.yaml").symlink_to("nowhere")
    (root / "gone").symlink_to("nowhere")
    reading = Tree("root", "UTC").read()
    assert names(reading)["root/x/a.yaml"] == ["a"]
    assert problems(reading) == [
        "root/gone.yaml:1:1: can't be read: No such file or directory",
        "root/loop.yaml:1:1: is not a regular file: take it away",
    ]


def test_fifos_sockets_and_devices_are_never_opened(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(root / "fifo.yaml")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("root/socket.yaml")
        monkeypatch.setattr(tree_module.os, "open", None)
        assert problems(Tree("root", "UTC").read()) == [
            "root/fifo.yaml:1:1: is not a regular file: take it away",
            "root/socket.yaml:1:1: is not a regular file: take it away",
        ]
        assert problems(Tree("/dev/null", "UTC").read()) == [
            "/dev/null:1:1: is not a regular file: take it away"
        ]


def test_a_huge_file_is_never_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (root / "big.yaml").open("wb") as file:
        file.truncate(1 << 40)
    monkeypatch.setattr(tree_module.os, "open", None)
    assert problems(Tree("root", "UTC").read()) == ["root/big.yaml:1:1: is larger than 1 MiB: split it"]


def test_what_cannot_be_read_is_a_problem_of_that_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "a.yaml").write_text(ONE)
    (root / "b.yaml").write_text(TWO)
    real = os.open

    def refuse(path: str, flags: int) -> int:
        if path.endswith("a.yaml"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(
        tree_module.os, "open", refuse
    )  # tests may run as root, for whom no mode is a hindrance
    reading = Tree("root", "UTC").read()
    assert problems(reading) == ["root/a.yaml:1:1: can't be read: Permission denied"]
    assert (reading.error, reading.files["root/a.yaml"].digest) == (None, None)
    assert names(reading)["root/b.yaml"] == ["b"]


def test_a_folder_that_cannot_be_listed_makes_absence_prove_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "x").mkdir()
    (root / "a.yaml").write_text(ONE)
    real = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("/x"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(tree_module.os, "scandir", refuse)
    reading = Tree("root", "UTC").read()
    assert reading.error == "root/x: Permission denied"
    assert names(reading) == {"root/a.yaml": ["a"]}


def test_a_link_that_may_lead_to_a_folder_makes_absence_prove_nothing(root: Path) -> None:
    (root / "a.yaml").write_text(ONE)
    (root / "loop").symlink_to("loop")
    reading = Tree("root", "UTC").read()
    assert reading.error == "root/loop: Too many levels of symbolic links"
    assert names(reading) == {"root/a.yaml": ["a"]}


def test_a_file_that_is_being_written_is_seen_at_the_next_reading(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.yaml").write_text(ONE)
    tree = Tree("root", "UTC")
    real = os.open

    def write_more(path: str, flags: int) -> int:
        opened = real(path, flags)
        (root / "a.yaml").write_text(ONE + TWO)
        return opened

    with monkeypatch.context() as patched:
        patched.setattr(tree_module.os, "open", write_more)
        assert problems(tree.read()) == [
            "root/a.yaml:1:1: was being written: it is read again at the next change or poll"
        ]
    (root / "a.yaml").write_text(TWO)
    assert names(tree.read()) == {"root/a.yaml": ["b"]}


def test_an_emptied_file_keeps_its_schedules_until_it_is_seen_twice(root: Path) -> None:
    (root / "a.yaml").write_text(ONE)
    tree = Tree("root", "UTC")
    tree.read()
    (root / "a.yaml").write_text("")
    first = tree.read()
    assert first.files["root/a.yaml"].broken
    assert problems(first) == [
        "root/a.yaml:1:1: is empty: its schedules are deleted if it still is at the next reading"
    ]
    second = tree.read()
    assert (problems(second), names(second)) == ([], {"root/a.yaml": []})
    assert second.changed == {"root/a.yaml"}


def test_names_that_cannot_be_shown_are_a_problem_not_a_crash(root: Path) -> None:
    Path(os.fsdecode(b"root/\xff.yaml")).write_text(ONE)
    (root / "a\nb.yaml").write_text(ONE)
    (root / "每日.yaml").write_text(TWO)
    reading = Tree("root", "UTC").read()
    assert problems(reading) == [
        "root/a\\nb.yaml:1:1: its path has characters that can't be shown: rename it",
        "root/\\udcff.yaml:1:1: its path has characters that can't be shown: rename it",
    ]
    assert names(reading)["root/每日.yaml"] == ["b"]
    "\n".join(reading.files).encode()


def test_a_path_that_no_table_takes_is_a_problem_of_that_file(root: Path) -> None:
    deep = root / ("d" * 250) / ("e" * 250)
    deep.mkdir(parents=True)
    (deep / "long-enough-to-be-too-long.yaml").write_text(ONE)
    (root / "b.yaml").write_text(TWO)
    reading = Tree("root", "UTC").read()
    [problem] = problems(reading)
    assert problem.endswith(
        "e/long-enough-to-be-too-long.yaml:1:1: its path is longer than 512 characters: move it up"
    )
    assert max(map(len, reading.files)) <= 512
    assert names(reading)["root/b.yaml"] == ["b"]
