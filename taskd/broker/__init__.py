"""What taskd adds to kombu. Importing this package tells kombu of it.

`files://…` is the embedded broker: a transport on files, for one machine and a local file system. Redis has kombu's own
transport, except that a worker outlives its connection.
"""

from pathlib import Path
from urllib.parse import quote

from kombu.transport import TRANSPORT_ALIASES

TRANSPORT_ALIASES |= {
    "files": "taskd.broker.files:Transport",
    "redis": "taskd.broker.reconnecting:Transport",
    "rediss": "taskd.broker.reconnecting:Transport",
    "sentinel": "taskd.broker.reconnecting:SentinelTransport",
}


def broker_url(folder: Path) -> str:
    """The URL of the broker in `folder`: `files:///var/lib/taskd/broker`."""
    return f"files://{quote(str(folder.absolute()))}"
