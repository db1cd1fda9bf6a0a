"""A leader for tests that ask about something else."""

from typing import Any

from taskd.dispatch.leader import Leadership


class Leading(Leadership):
    """One that leads, whatever the table says."""

    def leads(self, seconds: float) -> bool:
        """It does."""
        return True

    def fence(self, session: Any) -> None:
        """Holds."""
