"""The commit that a folder is a checkout of, read without trusting the repository.

Which        HEAD, its ref and packed-refs are small files, read here; a pass over an unchanged tree asks no program
What         author, subject and tree are asked of `git`, once a commit, in an empty repository of our own that only
             borrows the objects: their configuration, hooks and attributes are never read, and it may be
             another user's
Dirty        the files as they were read aren't what the commit has at their paths: by their ids, without `git status`,
             which would run the repository's filters

fault                                        what happens
no `git` here, or it fails or takes long     the commit's id alone
a repository that can't be understood        no commit: the revision is a digest of the content
"""

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1, sha256
from pathlib import Path
from tempfile import TemporaryDirectory

TIMEOUT = 5.0  # seconds for one question to git
_MOST = 16 * 1024 * 1024  # bytes of a packed-refs that is still read
_ID = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_DEPTH = 5  # symbolic refs that lead to another


@dataclass(frozen=True, slots=True)
class Commit:
    """`id` in full; the rest is None where git couldn't be asked.

    `blobs`: below the folder that was asked for, by path relative to it, the id of each file, and "" for what isn't
    a file: links and submodules.
    """

    id: str
    author: str | None = None
    subject: str | None = None
    blobs: Mapping[str, str] | None = None


def commit_of(folder: str) -> Commit | None:
    """What is checked out in `folder` (a real path) or above it; None where nothing is. Raises nothing."""
    try:
        for above in (Path(folder), *Path(folder).parents):
            if (git_dir := _git_dir(above / ".git")) is not None:
                return _commit(git_dir, os.path.relpath(folder, above))
    except (OSError, ValueError):
        pass
    return None


def blob_id(data: bytes, commit_id: str) -> str:
    """The id that git gives to this content, in the repository that has this commit."""
    hashed = sha1 if len(commit_id) == 40 else sha256
    return hashed(b"blob %d\0" % len(data) + data).hexdigest()


def _git_dir(dot_git: Path) -> Path | None:
    """Where `.git` is, or leads to: linked worktrees and submodules have a file there."""
    try:
        mode = dot_git.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(mode):
        return dot_git
    word, _, path = _text(dot_git).partition(":")
    return dot_git.parent / path.strip() if word == "gitdir" else None


def _commit(git_dir: Path, prefix: str) -> Commit | None:
    common = git_dir
    if (link := git_dir / "commondir").is_file():
        common = git_dir / _text(link).strip()
    head = _resolved("HEAD", git_dir, common)
    if head is None:
        return None
    return _asked(head, os.path.realpath(common / "objects"), "" if prefix == "." else f"{prefix}/")


def _resolved(ref: str, git_dir: Path, common: Path) -> str | None:
    """The commit's id that a ref leads to."""
    for _ in range(_DEPTH):
        place = git_dir / ref if ref == "HEAD" else common / ref
        try:
            text = _text(place).strip()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return _packed(ref, common / "packed-refs")
        if not text.startswith("ref:"):
            return text if _ID.fullmatch(text) else None
        ref = text.removeprefix("ref:").strip()
        if not ref.startswith("refs/") or ".." in ref:
            return None
    return None


def _packed(ref: str, file: Path) -> str | None:
    try:
        found = file.stat()
    except FileNotFoundError:
        return None
    return _packed_as_of(ref, file, (found.st_mtime_ns, found.st_size, found.st_ino))


@lru_cache(maxsize=16)
def _packed_as_of(ref: str, file: Path, _signature: object) -> str | None:
    found = re.search(rf"^([0-9a-f]+) {re.escape(ref)}$", _text(file), re.MULTILINE)
    return found[1] if found and _ID.fullmatch(found[1]) else None


def _text(path: Path) -> str:
    """A regular file's text; neither a pipe nor an endless file may hold up a pass."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path} is not a regular file")
        return file.read(_MOST).decode(errors="replace")


@lru_cache(maxsize=64)
def _asked(commit_id: str, objects: str, prefix: str) -> Commit:
    """The commit as git tells it. Kept also where it fails: what the objects lack, they lack at the next pass too."""
    program = shutil.which("git")
    if program is None:
        return Commit(commit_id)
    try:
        with TemporaryDirectory(prefix="taskd-git-") as own:
            _make_empty(Path(own), commit_id)
            git = _Git(program, own, objects)
            author, subject = _author_and_subject(git.ask("cat-file", "commit", commit_id))
            listed = git.ask("ls-tree", "-r", "-z", "--full-tree", commit_id, "--", prefix or ".")
    except (OSError, subprocess.SubprocessError):
        return Commit(commit_id)
    return Commit(commit_id, author, subject, _blobs(listed, prefix))


def _make_empty(own: Path, commit_id: str) -> None:
    (own / "refs").mkdir()
    (own / "HEAD").write_text("ref: refs/heads/none\n")
    formats = "[core]\nrepositoryformatversion = 1\n[extensions]\nobjectformat = "
    (own / "config").write_text(formats + ("sha1\n" if len(commit_id) == 40 else "sha256\n"))


@dataclass(frozen=True, slots=True)
class _Git:
    program: str
    own: str
    objects: str

    def ask(self, *words: str) -> str:
        environ = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": self.own,
            "LC_ALL": "C",
            "GIT_DIR": self.own,
            "GIT_OBJECT_DIRECTORY": self.objects,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_LITERAL_PATHSPECS": "1",
            "GIT_TERMINAL_PROMPT": "0",
        }
        done = subprocess.run(  # noqa: S603  the words are ours and an id
            [self.program, *words],
            cwd=self.own,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            check=True,
        )
        return os.fsdecode(done.stdout)


def _author_and_subject(text: str) -> tuple[str | None, str]:
    headers, _, message = text.partition("\n\n")
    author = re.search(r"^author (.*?) ?\d* ?[+-]?\d*$", headers, re.MULTILINE)
    paragraph = message.strip("\n").partition("\n\n")[0]
    return _shown(author[1]) if author else None, _shown(" ".join(paragraph.splitlines()))


def _shown(text: str) -> str:
    """What may stand in a log and a column: anyone can write a commit."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )[:200]


def _blobs(listed: str, prefix: str) -> dict[str, str]:
    found = {}
    for entry in filter(None, listed.split("\0")):
        about, _, path = entry.partition("\t")
        mode, _, blob = about.split(" ")
        if path.startswith(prefix):
            found[path.removeprefix(prefix)] = blob if mode.startswith("100") else ""
    return found
