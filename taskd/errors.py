"""Every exception that taskd raises on purpose; each class owns its sentence.

TaskdError                    one sentence for people: what, where, what to do
├── ConfigError               taskd.yaml, the environment or the command line can't be used
├── InvalidSchedule           a declaration that can't be accepted (also a ValueError, for pydantic)
├── Unavailable               will pass: a service is away; retried with backoff
│   ├── DatabaseUnavailable
│   └── BrokerUnavailable
├── WrongSchema               the database is older or newer than this taskd
├── LeaseLost                 another process leads now; what was under way is rolled back
├── TaskAborted               a task's body would have ended its process: SystemExit, MemoryError
├── CheckFailed               taskd.tasks.http_check got another answer than the expected one
├── CommandFailed             taskd.tasks.run_command's program ended with another status than the expected one
├── NotFound                  no such schedule or run
└── NotAllowed                ownership or state forbids it (HTTP 409)
"""


class TaskdError(Exception):
    """Base of all: its text is one sentence that can be shown to a person as it is."""


class ConfigError(TaskdError):
    """A setting, file or option that a human must change before taskd can run."""


class InvalidSchedule(TaskdError, ValueError):
    """A schedule's declaration, or a part of one, that can't be accepted."""


class Unavailable(TaskdError):
    """A service is away: it will pass, so the caller retries with backoff."""


class DatabaseUnavailable(Unavailable):
    """The database doesn't answer or refuses the connection."""


class BrokerUnavailable(Unavailable):
    """The message broker doesn't answer or refuses the connection."""


class WrongSchema(TaskdError):
    """The database's schema isn't the one this version works with."""


class LeaseLost(TaskdError):
    """Another process holds the lease: this one's statement must not commit."""


class TaskAborted(TaskdError):
    """A task's body called sys.exit or ran out of memory: a failure of that run, not the end of its worker."""


class CheckFailed(TaskdError):
    """What taskd.tasks.http_check asked, and what came instead."""


class CommandFailed(TaskdError):
    """What taskd.tasks.run_command ran, how it ended, and its last words."""


class NotFound(TaskdError):
    """There is no schedule or run of that name or id."""


class NotAllowed(TaskdError):
    """The schedule's owner or state forbids the operation."""

    def __init__(self, sentence: str, path: str | None = None, line: int | None = None) -> None:
        super().__init__(sentence)
        self.path, self.line = path, line
