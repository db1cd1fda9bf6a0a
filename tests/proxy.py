"""A TCP proxy between a program and a service, that fails as networks and servers do."""

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

CHUNK = 65536


class Proxy:
    """Forwards to `target` (host, port) from a free port, until told otherwise. One thread a direction."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        self._cut_after: bytes | None = None
        self._hold_at: bytes | None = None
        self._connections: set[socket.socket] = set()
        self.has_cut = threading.Event()  # `cut_after` has happened
        self.holds = threading.Event()  # `hold_at` has happened
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def hold(self) -> None:
        """Pass nothing on, in either direction, and break nothing: a network that has vanished."""
        self._flows.clear()

    def hold_at(self, words: bytes) -> None:
        """Hold from the moment a client sends `words`, these too."""
        self.holds.clear()
        self._hold_at = words

    def cut(self) -> None:
        """Break all connections and take no new ones: a server that is down."""
        self._refuses = True
        self._break()

    def cut_after(self, words: bytes) -> None:
        """Once a client has sent `words`, pass them on and break its connection: the answer is lost."""
        self.has_cut.clear()
        self._cut_after = words

    def restore(self) -> None:
        """Forward again, what was held too."""
        self._refuses = False
        self._flows.set()

    def close(self) -> None:
        """The end of the test."""
        self._listener.close()
        self._break()
        self._flows.set()

    def _break(self) -> None:
        for connection in list(self._connections):
            _end(connection)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self._refuses:
                    client.close()
                    continue
                try:
                    server = socket.create_connection(self._target, timeout=10)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                self._connections |= {client, server}
                for source, sink, to_server in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pump, args=(source, sink, to_server), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, to_server: bool) -> None:
        with suppress(OSError):
            while chunk := source.recv(CHUNK):
                if to_server and self._hold_at is not None and self._hold_at in chunk:
                    self._hold_at = None
                    self.hold()
                    self.holds.set()
                self._flows.wait()
                last = to_server and self._cut_after is not None and self._cut_after in chunk
                if last:
                    self._cut_after = None
                    _end(source)  # before the server can answer
                sink.sendall(chunk)
                if last:  # the server reads what it has got before it sees that nobody is there any more
                    self.has_cut.set()
                    break
        for connection in (source, sink):
            _end(connection)
            self._connections.discard(connection)
            connection.close()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
