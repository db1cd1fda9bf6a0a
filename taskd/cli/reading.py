"""Schedule files as the settings or the command line name them."""

import os
from collections.abc import Sequence

from taskd.cli import progress
from taskd.errors import ConfigError
from taskd.source.tree import Tree
from taskd.source.yamlfile import FileReading


def read_files(roots: Sequence[str], timezone: str) -> list[FileReading]:
    """All files below `roots`, each once though roots overlap; raises ConfigError where one can't be read."""
    with progress.bar("reading files") as step:
        readings = [Tree(root, timezone).read(step) for root in roots]
    if blind := [reading.error for reading in readings if reading.error]:
        raise ConfigError("; ".join(blind))
    files = (file for reading in readings for file in reading.files.values())
    return list({os.path.realpath(file.path): file for file in files}.values())
