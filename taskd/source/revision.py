"""What a tree is called: the commit that is checked out, else the leaf of a swapped link, else a digest of the content."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from taskd.source.git import Commit, blob_id, commit_of
from taskd.source.yamlfile import FileReading

SUFFIXES = (".yaml", ".yml")
DIRTY = "+dirty"
"""Ends the name of a commit whose files aren't as it has them."""


@dataclass(frozen=True, slots=True)
class Revision:
    """A name for one state of a tree; author and subject where it is a commit and git could be asked."""

    name: str
    author: str | None = None
    subject: str | None = None

    @property
    def commit(self) -> dict[str, str | None] | None:
        """Who made it and what for, where it is a commit of which git could tell."""
        return {"author": self.author, "subject": self.subject} if self.subject is not None else None


class Revisions:
    """Names one root's states again and again. Not for two threads at once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._last: tuple[object, Revision] | None = None

    def of(self, real: str, files: Mapping[str, FileReading], digest: str) -> Revision:
        """The revision of `files` as they were read, from the root's real path; `digest` stands for all of them."""
        place = Path(real)
        folder = str(place if place.is_dir() else place.parent)
        commit = commit_of(folder)
        if commit is None:
            leaf = _leaf(self._root)
            return Revision(leaf if leaf and leaf.isprintable() else digest)
        seen = (commit, folder, digest)
        if self._last is None or self._last[0] != seen:
            read = {_below(path, self._root) or place.name: file for path, file in files.items()}
            dirty = commit.blobs is not None and _differs(commit, read, whole=folder == real)
            self._last = seen, Revision(commit.id + DIRTY * dirty, commit.author, commit.subject)
        return self._last[1]


def is_ignored(name: str) -> bool:
    """Whether a file or folder of this name is none of a source's: hidden, or an editor's."""
    return name.startswith((".", "#"))


def _below(path: str, root: str) -> str:
    return path if root == "." else path.removeprefix(root).lstrip("/")


def _differs(commit: Commit, read: Mapping[str, FileReading], *, whole: bool) -> bool:
    blobs = commit.blobs or {}
    for path, file in read.items():
        if any(blobs.get(above) == "" for above in _and_above(path)):
            continue  # a link, or another repository: the commit doesn't say what is there
        if file.content is None or blobs.get(path) != blob_id(file.content, commit.id):
            return True
    return whole and any(_is_ours(path) and path not in read for path, blob in blobs.items() if blob)


def _and_above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


def _is_ours(path: str) -> bool:
    return path.endswith(SUFFIXES) and not any(map(is_ignored, PurePath(path).parts))


def _leaf(root: str) -> str | None:
    """The name of where a link leads that a publisher swaps: a ConfigMap's `..data`, the root, or a link beside its target above."""
    for link in (Path(root, "..data"), Path(root)):
        if link.is_symlink():
            return link.resolve().name
    for link in Path(root).absolute().parents:
        if link.is_symlink() and link.parent != Path("/"):
            target = link.resolve()
            if target.is_relative_to(link.parent.resolve()):
                return target.name
    return None
