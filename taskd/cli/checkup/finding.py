"""What one look has found."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`about`: the area. `remedy`: what to do; there is one for all that isn't ok."""

    about: str
    level: Level
    says: str
    remedy: str | None = None


def fine(about: str, says: str) -> Finding:
    """As it should be."""
    return Finding(about, "ok", says)


def doubtful(about: str, says: str, remedy: str) -> Finding:
    """It works, and may surprise."""
    return Finding(about, "warning", says, remedy)


def broken(about: str, says: str, remedy: str) -> Finding:
    """It doesn't work, or isn't safe."""
    return Finding(about, "problem", says, remedy)
