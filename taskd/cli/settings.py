"""The settings that a call works with."""

import os

from taskd.cli.invocation import Invocation
from taskd.config import Settings, load


def settings_of(invocation: Invocation) -> Settings:
    """From the file that `--config` names, or the one that is found; raises ConfigError."""
    return load(invocation.config, os.environ)


def hand_on_config(invocation: Invocation) -> None:
    """Let the processes that this one becomes or starts find the same file."""
    if invocation.config is not None:
        os.environ["TASKD_CONFIG"] = str(invocation.config.absolute())
