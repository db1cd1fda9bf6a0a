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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from taskd.source.nodes import MAX_BYTES
from taskd.source.revision import SUFFIXES, Revision, Revisions, is_ignored
from taskd.source.yamlfile import Declared, FileReading, Problem, digest_of, read_file

_ATTEMPTS = 3
LONGEST_PATH = 512
"""Characters: what the table of files takes."""


@dataclass(frozen=True, slots=True)
class TreeReading:
    """All files of a root by path (the root as given, joined with what is below it), at one time.

    `changed` are the paths that came, went or differ since the last reading of the same Tree. `digest` stands for
    all paths and contents. While `error` is set, a file that isn't among `files` may still exist.
    """

    root: str
    files: Mapping[str, FileReading]
    changed: frozenset[str]
    digest: str
    revision: Revision
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
    """Reads one root again and again, and parses only what changed. Not for two threads at once.

    `before_parsing` is called before each file that is parsed, and may wait.
    """

    def __init__(
        self, root: str | Path, timezone: str, before_parsing: Callable[[], object] = lambda: None
    ) -> None:
        self.root = str(Path(root))
        self._before_parsing = before_parsing
        self._timezone = timezone
        self._revisions = Revisions(self.root)
        self._remembered: dict[str, _Remembered] = {}
        self._last: Mapping[str, FileReading] = {}
        self._last_good: dict[str, tuple[Declared, ...]] = {}
        self._asked_for: set[str] = set()

    def read(self, step: Callable[[int, int], None] = lambda _done, _total: None) -> TreeReading:
        """The root as it is now; a problem of a file, or of the root, is part of the reading. `step`: told of each file."""
        for _ in range(_ATTEMPTS):
            resolved = _resolved(self.root)
            files, blind = self._read_all(resolved[0], step)
            if _resolved(self.root) == resolved:
                break
        else:
            blind.append(f"{self.root} was swapped again and again while it was read")
        files = {path: self._with_last_good(file) for path, file in files.items()}
        if not blind:  # what is gone is forgotten
            self._last_good = {path: good for path, good in self._last_good.items() if path in files}
        before, self._last = self._last, files
        changed = frozenset(
            path for path in before.keys() | files.keys() if before.get(path) != files.get(path)
        )
        digest = _digest(files)
        revision = self._revisions.of(resolved[0], files, digest)
        return TreeReading(self.root, files, changed, digest, revision, "; ".join(blind) or None)

    def without_memory(self, reading: TreeReading) -> frozenset[str]:
        """Broken files of which this tree has never read a good content; each is named once, for `remember`."""
        broken = {path for path, file in reading.files.items() if file.broken}
        forgotten = frozenset(broken - self._last_good.keys() - self._asked_for)
        self._asked_for |= forgotten
        return forgotten

    def remember(self, texts: Mapping[str, str]) -> None:
        """What files last held without an error, as an earlier process has read it."""
        for path, text in texts.items():
            file = read_file(text.encode(), path, self._timezone)
            if not file.broken:
                self._last_good.setdefault(path, file.schedules)

    def _with_last_good(self, file: FileReading) -> FileReading:
        if not file.broken:
            self._last_good[file.path] = file.schedules
            return file
        return replace(file, last_good=self._last_good.get(file.path, ()))

    def _read_all(
        self, real: str, step: Callable[[int, int], None]
    ) -> tuple[dict[str, FileReading], list[str]]:
        blind: list[str] = []
        entries = sorted(_entries(self.root, real, blind))
        files: dict[str, FileReading] = {}
        for done, (path, at) in enumerate(entries):
            step(done, len(entries))
            reading = self._read_entry(path, at, real)
            files[reading.path] = reading
        self._remembered = {path: kept for path, kept in self._remembered.items() if path in files}
        return files, blind

    def _read_entry(self, path: str, at: str, real: str) -> FileReading:
        if not path.removeprefix(self.root).isprintable():
            shown = path.encode("unicode_escape").decode()
            return _refused(shown, "its path has characters that can't be shown: rename it")
        if len(path) > LONGEST_PATH:
            shown = f"{path[:200]}…{path[-200:]}"
            return _refused(shown, f"its path is longer than {LONGEST_PATH} characters: move it up")
        if not _is_inside(at, real):
            return _refused(path, f"is a link out of the root, to {at}: move what it points to here")
        try:
            return self._read_file(path, at)
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
        if kept and unchanged:
            reading = kept.reading
        else:
            self._before_parsing()
            reading = read_file(data, path, self._timezone)
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
            entries = [entry for entry in os.scandir(folder) if not is_ignored(entry.name)]
        except NotADirectoryError:  # a root may be a single file
            yield path, folder
            continue
        except OSError as error:
            blind.append(f"{path}: {error.strerror}")
            continue
        prefix = "" if path == "." else f"{path.rstrip('/')}/"
        for entry in entries:
            shown, named = prefix + entry.name, entry.name.endswith(SUFFIXES)
            try:
                is_folder = entry.is_dir()
            except OSError as error:
                is_folder = False
                if not named:  # else the reading of the file says why
                    blind.append(f"{shown}: {error.strerror}")
            target = os.path.realpath(entry) if entry.is_symlink() else entry.path
            if is_folder and _is_inside(target, real):
                folders.append((shown, target))
            elif is_folder or named:
                yield shown, target


def _is_inside(target: str, real: str) -> bool:
    return target == real or target.startswith(f"{real.rstrip('/')}/")


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


def _digest(files: Mapping[str, FileReading]) -> str:
    """32 hex digits over all paths and contents; a file that couldn't be read counts with its problem."""
    lines = (f"{path}\0{reading.digest or reading.problems}\n" for path, reading in files.items())
    return digest_of("".join(lines).encode())
