"""The embedded broker's folder: messages as files, and who has taken them.

    queues/<queue>/<message>            ready; names sort by priority, then by age
    unacked/<inbox>/<queue>/<message>   taken by one channel; its process holds a flock on unacked/<inbox>
    temporary/<queue>/<inbox>           an exclusive or auto-delete queue, and the channels that use it
    new/                                being written, made or removed: nobody reads here
    broken/                             what could not be read

States      new → ready → taken → gone (acknowledged)
                    ↑________| given back, its name now ending in `.again`: delivered as redelivered
Invariants  A message is in one place; every step is one rename or unlink inside one file system.
            queues/ has whole files only: written and fsynced in new/, then renamed.
            unacked/ has locked inboxes only, until their owners die: locked in new/, then renamed.
            Who gets the lock of another's inbox knows that its owner is dead, and alone gives back.

A flock belongs to the open file, which a forked child shares: a pool's child would keep a killed worker's
inbox locked. So children close these descriptors as they are born, and exec closes them too. (A record
lock, lockf, isn't inherited, but closing any descriptor of the file drops it, and it can't tell two
channels of one process apart.)

| fault                         | what stands                             | what repairs it                          |
|-------------------------------|-----------------------------------------|------------------------------------------|
| a writer dies                 | a part in new/, seen by nobody          | removed after an hour                    |
| … after the rename            | ready, though the writer never knew     | whoever publishes again has the same id  |
| a consumer dies (kill -9)     | its inbox, unlocked                     | given back by any consumer within 1 s    |
| … while giving back           | the rest of the inbox, unlocked         | the next consumer                        |
| a consumer is stopped, swaps  | its inbox, locked: it is alive          | itself                                   |
| power fails                   | persistent messages (fsynced); the last | delivered again, perhaps not marked as   |
|                               | acknowledgements may be undone          | redelivered                              |
| the disk is full              | nothing new                             | OSError for the publisher, who retries   |
| the clock is set back         | newer messages sort before older ones   | nothing lost                             |
| the folder is removed         | nothing                                 | OSError: kombu reconnects, it is remade  |
"""

import contextlib
import fcntl
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

AGAIN = ".again"
STALE = 3600.0  # seconds after which what is in new/ has no writer any more

_held: dict[str, int] = {}  # the inboxes this process holds, with the descriptor that locks each
_forking = threading.Lock()  # no fork between opening a descriptor and noting it


def _let_go_in_child() -> None:
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()
    _forking.release()


os.register_at_fork(
    before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_let_go_in_child
)


def holds(inbox: str) -> bool:
    """Whether this process owns `inbox`; a forked child owns nothing of its parent's."""
    return inbox in _held


def _lock(inbox: Path) -> bool:
    """Hold `inbox` as long as this process lives; False: somebody else does, or it is gone."""
    with _forking, contextlib.ExitStack() as undo:
        try:
            descriptor = os.open(inbox, os.O_RDONLY | os.O_DIRECTORY)
            undo.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, FileNotFoundError):
            return False
        undo.pop_all()
        _held[inbox.name] = descriptor
        return True


def as_file_name(name: str) -> str:
    """`name` as one part of a path, still readable; urllib's `unquote` turns it back."""
    return re.sub(r"[%/\0]|^\.", lambda found: f"%{ord(found[0]):02X}", name)


def _names(folder: Path) -> list[str]:
    return os.listdir(folder)  # noqa: PTH208 a Path for each of 100,000 messages takes ten times as long


def _names_if_any(folder: Path) -> list[str]:
    try:
        return _names(folder)
    except FileNotFoundError:
        return []


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True)
class Folder:
    """The broker at `root`. Queues are named by `as_file_name`; a taken message by inbox/queue/message."""

    root: Path

    def path(self, place: str, *parts: str) -> Path:
        """Where `parts` are in `place`: queues, unacked, temporary, exchanges, new or broken."""
        return self.root.joinpath(place, *parts)

    def make(self) -> None:
        """Make what is missing, for the owner only. Raises OSError where that or writing isn't allowed."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for place in ("queues", "unacked", "temporary", "exchanges", "new", "broken"):
            self.path(place).mkdir(exist_ok=True)
        probe = self.path("new", uuid.uuid4().hex)
        probe.touch()
        probe.unlink()

    def write(self, content: bytes, *, persistent: bool) -> Path:
        """A new file in new/, to be renamed to where it belongs."""
        draft = self.path("new", uuid.uuid4().hex)
        try:
            with draft.open("wb") as file:
                file.write(content)
                file.flush()
                if persistent:
                    os.fsync(file.fileno())
        except OSError:
            draft.unlink(missing_ok=True)
            raise
        return draft

    # queues

    def make_queue(self, queue: str) -> None:
        """Make `queue` if it isn't there."""
        with contextlib.suppress(FileExistsError):
            self.path("queues", queue).mkdir()
            _sync(self.path("queues"))

    def delete_queue(self, queue: str) -> None:
        """Remove `queue` with what is ready in it, at one instant for everybody."""
        grave = self.path("new", uuid.uuid4().hex)
        with contextlib.suppress(FileNotFoundError):  # somebody else has just done it
            self.path("queues", queue).rename(grave)
            shutil.rmtree(grave)
        shutil.rmtree(self.path("temporary", queue), ignore_errors=True)

    def ready(self, queue: str) -> list[str]:
        """The messages waiting in `queue`, in no order; none if there is no such queue."""
        return _names_if_any(self.path("queues", queue))

    def taken(self, queue: str) -> list[str]:
        """The messages of `queue` that consumers hold."""
        inboxes = _names_if_any(self.path("unacked"))
        return [name for inbox in inboxes for name in _names_if_any(self.path("unacked", inbox, queue))]

    def put(self, queue: str, message: str, content: bytes, *, persistent: bool) -> bool:
        """Make the message ready, on disk when this returns if `persistent`; False: no such queue."""
        draft = self.write(content, persistent=persistent)
        try:
            draft.rename(self.path("queues", queue, message))
        except FileNotFoundError:
            draft.unlink()
            return False
        if persistent:
            _sync(self.path("queues", queue))
        return True

    def purge(self, queue: str) -> int:
        """Remove what is ready in `queue`; how many that were."""
        purged = 0
        for message in self.ready(queue):
            with contextlib.suppress(FileNotFoundError):  # a consumer was quicker
                self.path("queues", queue, message).unlink()
                purged += 1
        return purged

    # inboxes

    def open_inbox(self) -> str:
        """A new inbox that this process holds."""
        inbox = uuid.uuid4().hex
        made = self.path("new", inbox)
        made.mkdir()
        _lock(made)
        made.rename(self.path("unacked", inbox))
        return inbox

    def open_tray(self, inbox: str, queue: str) -> None:
        """Make room for what is taken from `queue`. FileNotFoundError: the broker was removed under us."""
        self.path("unacked", inbox, queue).mkdir(exist_ok=True)

    def take(self, inbox: str, queue: str, message: str) -> str | None:
        """Move a ready message into the inbox's open tray; None: another consumer was quicker."""
        try:
            self.path("queues", queue, message).rename(self.path("unacked", inbox, queue, message))
        except FileNotFoundError:
            return None
        return f"{inbox}/{queue}/{message}"

    def acknowledge(self, taken: str) -> None:
        """Remove a taken message. FileNotFoundError: it was given back, and will be delivered again."""
        self.path("unacked", taken).unlink()

    def set_aside(self, taken: str) -> Path:
        """Move a taken message that can't be read to where a human may look at it."""
        return self.path("unacked", taken).rename(self.path("broken", Path(taken).name))

    def give_back(self, taken: str) -> None:
        """Make a taken message ready again, marked, in its old place; not from a forked copy of its owner."""
        inbox, queue, message = taken.split("/")
        if holds(inbox):
            self.make_queue(queue)
            again = message.removesuffix(AGAIN) + AGAIN
            self.path("unacked", taken).rename(self.path("queues", queue, again))

    def close_inbox(self, inbox: str) -> None:
        """Give back what is in an inbox that this process holds, and forget it."""
        try:
            for queue in self.path("unacked", inbox).iterdir():
                for message in queue.iterdir():
                    with contextlib.suppress(FileNotFoundError):  # another thread has just acknowledged it
                        self.give_back(f"{inbox}/{queue.name}/{message.name}")
                queue.rmdir()
            self.path("unacked", inbox).rmdir()
        except FileNotFoundError:
            pass  # the folder was removed: there is nothing to give back
        finally:
            os.close(_held.pop(inbox))

    def close_abandoned_inboxes(self) -> None:
        """Give back what dead consumers had taken."""
        for inbox in _names(self.path("unacked")):
            if not holds(inbox) and _lock(self.path("unacked", inbox)):
                self.close_inbox(inbox)

    # what is left over

    def use_temporary(self, queue: str, inbox: str | None = None) -> None:
        """Note that `queue` goes with its last user, and that `inbox` is one."""
        with self.users_locked():
            self.path("temporary", queue).mkdir(exist_ok=True)
            if inbox:
                self.path("temporary", queue, inbox).touch()

    def is_temporary(self, queue: str) -> bool:
        """Whether `queue` goes with its last user."""
        return self.path("temporary", queue).is_dir()

    def left_over_queues(self) -> list[str]:
        """The temporary queues that had users, none of whom is left."""
        alive = set(_names(self.path("unacked")))
        temporary = self.path("temporary")
        users = {queue: _names_if_any(temporary / queue) for queue in _names(temporary)}
        return [queue for queue, inboxes in users.items() if inboxes and alive.isdisjoint(inboxes)]

    @contextlib.contextmanager
    def users_locked(self) -> Iterator[None]:
        """Nobody else begins to use a temporary queue, or removes one, meanwhile."""
        descriptor = os.open(self.path("temporary"), os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing alone would leave it to a child forked meanwhile
            os.close(descriptor)

    def remove_stale_drafts(self, now: float) -> None:
        """Remove what dead writers left in new/; `now` in seconds since the epoch."""
        for draft in self.path("new").iterdir():
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < now - STALE:
                    shutil.rmtree(draft) if draft.is_dir() else draft.unlink()
