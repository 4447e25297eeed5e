"""Stands between a client and a server, and counts how often the client waits for an answer."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Relay:
    """A TCP port that leads to another.

    Attributes:
        port: The port to connect to.
        round_trips: How many times clients have spoken, after an answer or for the first time.
        connections: How many clients have connected.
    """

    def __init__(self, upstream: int) -> None:
        self.round_trips = 0
        self.connections = 0
        self._upstream = upstream
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, upstream: int) -> None:
        """Have new connections go to another port; those that are open stay where they are."""
        self._upstream = upstream

    def cut(self) -> None:
        """Break all connections, as a firewall that has forgotten them does."""
        while self._sockets:
            _close(self._sockets.pop())

    def close(self) -> None:
        """Take no more connections, and break those there are."""
        _close(self._listener)
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                _Line(self, client, socket.create_connection(("127.0.0.1", self._upstream)))


class _Line:
    """One client's connection."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay = relay
        self._client_spoke_last = False
        relay.connections += 1
        relay._sockets += [client, server]
        for ends in ((client, server), (server, client)):
            threading.Thread(
                target=self._pump, args=(*ends, ends[0] is client), daemon=True
            ).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_client and not self._client_spoke_last:
                    self._relay.round_trips += 1
                self._client_spoke_last = is_client
                target.sendall(data)
        _close(source)
        _close(target)


def _close(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()
