"""The embedded broker: a kombu transport on files, for one machine and a local file system.

Importing this package teaches kombu the scheme: `Connection(broker_url(folder))`.
"""

from pathlib import Path
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES["files"] = "taskd.broker.files:Transport"


def broker_url(folder: Path) -> str:
    """The URL of the broker in `folder`: `files:///var/lib/taskd/broker`."""
    return f"files://{quote(str(folder.absolute()))}"
