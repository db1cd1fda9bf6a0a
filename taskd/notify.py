"""Words to systemd, where it listens: the sd_notify(3) protocol."""

import os
import socket


def notify(*assignments: str) -> None:
    """Send `READY=1`, `STATUS=…`, `WATCHDOG=1`, `STOPPING=1`; does nothing where $NOTIFY_SOCKET isn't set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract socket
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
        out.sendto("\n".join(assignments).encode(), address)


def watchdog_interval() -> float | None:
    """Seconds between two signs of life that systemd asks for, or None."""
    micros = os.environ.get("WATCHDOG_USEC")
    return int(micros) / 2e6 if micros and micros.isdecimal() else None
