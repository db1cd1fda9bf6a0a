"""A source's root → its files, parsed where they changed.

Truth      the content. (size, mtime, inode, …) only saves reading it, once it was seen unchanged twice: a write
           within the same tick of the file system's clock leaves them as they were
Absence    proves nothing while `error` is set: the root, or a folder in it, couldn't be listed
Links      followed as long as they stay in the root, which is resolved once a reading: ConfigMaps and git-sync
           swap a link to change all files at once. A root that is swapped meanwhile is read anew

What happens to a file                       What the reading says
unreadable, a link outwards, a FIFO, huge    a problem of that file; the others are read
being written, gone between list and open,   a problem of that file, until the next reading
emptied (many write by truncating first)
"""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from taskd.source.nodes import MAX_BYTES
from taskd.source.yamlfile import FileReading, Problem, digest_of, read_file

_SUFFIXES = (".yaml", ".yml")
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class TreeReading:
    """All files of a root by path (the root as given, joined with what is below it), at one time.

    `changed` are the paths that came, went or differ since the last reading of the same Tree. While `error` is
    set, a file that isn't among `files` may still exist.
    """

    root: str
    files: Mapping[str, FileReading]
    changed: frozenset[str]
    revision: str
    error: str | None = None


class _Signature(NamedTuple):
    mode: int
    size: int
    device: int
    inode: int
    modified: int
    changed: int


class _Remembered(NamedTuple):
    signature: _Signature
    trusted: bool
    reading: FileReading


class _Unusable(Exception):
    """Why a file can't be taken; the text is a sentence for its author."""


class Tree:
    """Reads one root again and again, and parses only what changed. Not for two threads at once."""

    def __init__(self, root: str | Path, timezone: str) -> None:
        self.root = str(root)
        self._timezone = timezone
        self._remembered: dict[str, _Remembered] = {}
        self._last: Mapping[str, FileReading] = {}

    def read(self) -> TreeReading:
        """The root as it is now; a problem of a file, or of the root, is part of the reading."""
        for _ in range(_ATTEMPTS):
            resolved = _resolved(self.root)
            files, blind = self._read_all(resolved[0])
            if _resolved(self.root) == resolved:
                break
        else:
            blind.append(f"{self.root} was swapped again and again while it was read")
        before, self._last = self._last, files
        changed = frozenset(
            path for path in before.keys() | files.keys() if before.get(path) != files.get(path)
        )
        return TreeReading(self.root, files, changed, _revision(files), "; ".join(blind) or None)

    def _read_all(self, real: str) -> tuple[dict[str, FileReading], list[str]]:
        blind: list[str] = []
        readings = [self._read_entry(path, at, real) for path, at in sorted(_entries(self.root, real, blind))]
        files = {reading.path: reading for reading in readings}
        self._remembered = {path: kept for path, kept in self._remembered.items() if path in files}
        return files, blind

    def _read_entry(self, path: str, at: str, real: str) -> FileReading:
        if not path.removeprefix(self.root).isprintable():
            shown = path.encode("unicode_escape").decode()
            return _refused(shown, "its path has characters that can't be shown: rename it")
        try:
            return self._read_file(path, _inside(at, real))
        except _Unusable as error:
            return _refused(path, str(error))
        except OSError as error:
            return _refused(path, f"can't be read: {error.strerror}")

    def _read_file(self, path: str, at: str) -> FileReading:
        kept, signature = self._remembered.get(path), _signature(os.lstat(at))
        same = kept is not None and kept.signature == signature
        if kept and same and kept.trusted:
            return kept.reading
        data = _content(at, signature)
        if kept and kept.reading.schedules and not data and not same:
            self._remembered[path] = kept._replace(signature=signature, trusted=False)
            raise _Unusable("is empty: its schedules are deleted if it still is at the next reading")
        unchanged = kept is not None and kept.reading.digest == digest_of(data)
        reading = kept.reading if kept and unchanged else read_file(data, path, self._timezone)
        self._remembered[path] = _Remembered(signature, same, reading)
        return reading


def _resolved(root: str) -> tuple[str, str]:
    """What a swap changes: git-sync's root is a link, and a ConfigMap's `..data` in it is one."""
    return os.path.realpath(root), os.path.realpath(f"{root}/..data")


def _entries(root: str, real: str, blind: list[str]) -> Iterator[tuple[str, str]]:
    """(path to show, path to open) of every schedule file; what couldn't be listed goes to `blind`."""
    folders, seen = [(root, real)], set()
    while folders:
        path, folder = folders.pop()
        if folder in seen:  # two links to one folder, or a link to a folder above
            continue
        seen.add(folder)
        try:
            entries = [entry for entry in os.scandir(folder) if not entry.name.startswith((".", "#"))]
        except NotADirectoryError:  # a root may be a single file
            yield path, folder
            continue
        except OSError as error:
            blind.append(f"{path}: {error.strerror}")
            continue
        for entry in entries:
            shown, named = str(Path(path, entry.name)), entry.name.endswith(_SUFFIXES)
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                is_folder = False
                if not named:  # else the reading of the file says why
                    blind.append(f"{shown}: {error.strerror}")
            target = os.path.realpath(entry)
            if is_folder and _is_inside(target, real):
                folders.append((shown, target))
            elif is_folder or named:
                yield shown, entry.path


def _is_inside(target: str, real: str) -> bool:
    return target == real or target.startswith(f"{real.rstrip('/')}/")


def _inside(at: str, real: str) -> str:
    target = os.path.realpath(at)
    if not _is_inside(target, real):
        raise _Unusable(f"is a link out of the root, to {target}: move what it points to here")
    return target


def _content(at: str, signature: _Signature) -> bytes:
    if not stat.S_ISREG(signature.mode):
        raise _Unusable("is not a regular file: take it away")
    if signature.size > MAX_BYTES:
        raise _Unusable("is larger than 1 MiB: split it")
    # Should a FIFO or a link have taken the file's place since: neither wait for it nor follow it.
    with os.fdopen(os.open(at, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        data = file.read(MAX_BYTES + 1)
        if _signature(os.fstat(file.fileno())) != signature:
            raise _Unusable("was being written: it is read again at the next change or poll")
    return data


def _signature(status: os.stat_result) -> _Signature:
    return _Signature(
        status.st_mode, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    )


def _refused(path: str, sentence: str) -> FileReading:
    return FileReading(path, None, (), (Problem(path, 1, 1, None, sentence),))


def _revision(files: Mapping[str, FileReading]) -> str:
    """32 hex digits over all paths and contents; a file that couldn't be read counts with its problem."""
    lines = (f"{path}\0{reading.digest or reading.problems}\n" for path, reading in files.items())
    return digest_of("".join(lines).encode())
