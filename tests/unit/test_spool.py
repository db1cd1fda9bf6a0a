"""The spool: what was kept is read in its order, whatever happens to the process; and who may read it."""

import os
from pathlib import Path

import pytest

from taskd.worker import spool
from taskd.worker.spool import Spool, left_over, waiting


def written(folder: Path) -> list[bytes]:
    return [line for batch in left_over(folder) for line in batch]


def test_lines_come_back_in_their_order_until_they_are_settled(tmp_path: Path) -> None:
    kept = Spool(tmp_path / "spool")
    assert not kept.holds()
    for line in (b"one", b"two"):
        kept.append(line)
    lines, end = kept.oldest()
    assert lines == [b"one", b"two"]
    first = kept.last
    kept.append(b"three")
    assert kept.holds(first)
    kept.settle(end)
    assert kept.holds()
    assert not kept.holds(first)
    [file] = (tmp_path / "spool").iterdir()
    assert file.stat().st_mode & 0o077 == 0
    assert kept.oldest()[0] == [b"three"]
    kept.settle(kept.oldest()[1])
    assert not kept.holds()
    assert list((tmp_path / "spool").iterdir()) == []


def test_a_process_files_are_left_in_their_order(tmp_path: Path) -> None:
    kept = Spool(tmp_path)
    lines = [str(number).encode() for number in range(12)]
    for line in lines:
        kept.append(line)
        kept.oldest()  # to what is read nothing more is added
    assert len(waiting(tmp_path)) == 2
    kept.close()
    assert written(tmp_path) == lines


def test_a_file_is_deleted_once_all_its_batches_are_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "BATCH_BYTES", 10)
    kept = Spool(tmp_path)
    for line in (b"a" * 8, b"b" * 8):
        kept.append(line)
    for expected in (b"a" * 8, b"b" * 8):
        lines, end = kept.oldest()
        assert (lines, len(waiting(tmp_path))) == ([expected], 1)
        kept.settle(end)
    assert waiting(tmp_path) == set()


def test_a_living_process_keeps_its_file_to_itself(tmp_path: Path) -> None:
    kept = Spool(tmp_path)
    kept.append(b"mine")
    assert written(tmp_path) == []
    kept.close()
    assert written(tmp_path) == [b"mine"]
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_leaves_whole_lines_to_others(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        kept = Spool(tmp_path)
        kept.append(b"whole")
        kept.append(b"also")
        os.write(kept._files[-1][1], b'{"cut sh')
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    assert written(tmp_path) == [b"whole", b"also"]


def test_a_forked_child_does_not_write_into_its_parents_file(tmp_path: Path) -> None:
    kept = Spool(tmp_path)
    kept.append(b"parent's")
    child = os.fork()
    if not child:
        kept.forget()
        os._exit(0)
    os.waitpid(child, 0)
    assert written(tmp_path) == []  # its lock still holds
    kept.append(b"again")
    assert kept.oldest()[0] == [b"parent's", b"again"]


def test_long_files_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "BATCH_BYTES", 10)
    kept = Spool(tmp_path)
    lines = [b"a" * 4, b"b" * 4, b"c" * 30, b"d"]
    for line in lines:
        kept.append(line)
    kept.close()
    assert [line for batch in left_over(tmp_path) for line in batch] == lines


def test_a_file_that_is_full_says_so_and_keeps_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "MOST_BYTES", 10)
    kept = Spool(tmp_path)
    kept.append(b"12345")
    with pytest.raises(OSError, match="has reached 10 bytes"):
        kept.append(b"67890")
    assert kept.oldest()[0] == [b"12345"]


def test_a_line_that_the_disk_had_no_room_for_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Spool(tmp_path)
    kept.append(b"whole")
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, line: write(file, line[:3]))
    with pytest.raises(OSError, match="full"):
        kept.append(b"too long")
    monkeypatch.undo()
    kept.append(b"next")
    assert kept.oldest()[0] == [b"whole", b"next"]
