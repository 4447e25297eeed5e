"""A TCP proxy on the loopback that fails as networks do, and counts round trips."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING

from servers.process import free_port, wait_until

if TYPE_CHECKING:
    from typing_extensions import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets
_CHUNK = 1 << 16
_TICK = 0.02


class Proxy:
    """Carries bytes to a server and back, until told otherwise.

    Use it as a context manager. What it is told holds for connections that are open, too.

    Args:
        target: The port of the server on this machine.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._mode = "pass"
        self._delay = 0.0
        self._trickle = 0.0
        self._open: set[socket.socket] = set()
        self._held: set[socket.socket] = set()
        self._forgotten: set[socket.socket] = set()
        self._drops = 0
        self._then: Callable[[], object] = int
        self._turns = 0
        self._answers = 0
        self._clients = 0
        self._lock = threading.Lock()
        self._closed = False
        self.port = free_port()  # which no client is given meanwhile, when it comes back
        self._listener = self._listen(self.port)
        self._threads: list[threading.Thread] = []

    # -- What it is told --------------------------------------------------------------------------

    def carry(self) -> None:
        """Work as a network should."""
        if self._mode == "refuse":
            self._listener = self._listen(self.port)
            self._start(self._accept, self._listener)
        self._mode, self._delay, self._trickle, self._drops = "pass", 0.0, 0.0, 0
        self._held, self._forgotten = set(), set()

    def refuse(self) -> None:
        """Refuse new connections, and reset those that are open."""
        self._mode = "refuse"
        self._listener.close()

    def reset(self) -> None:
        """Reset every connection: those that are open, and each new one as soon as it is made."""
        self._mode = "reset"

    def stall(self) -> None:
        """Take connections and requests, and carry nothing."""
        self._mode = "stall"

    def delay(self, seconds: float) -> None:
        """Hold each reply back for so long."""
        self._delay = seconds

    def trickle(self, seconds: float) -> None:
        """Carry replies byte by byte, each so long after the one before."""
        self._trickle = seconds

    def hold(self) -> None:
        """Keep what comes by the connections that are open now, until `carry`; new ones work."""
        self._held = set(self._open)

    def let_through(self) -> None:
        """Have all that was held arrive, and wait until the server has answered."""
        due = self._answers + self.held()
        self.carry()
        wait_until(lambda: self._answers >= due, "what was held back has arrived")

    def forget(self) -> None:
        """Reset each connection that is open now when it is used again; new ones work."""
        self._forgotten = set(self._open)

    def drop_replies(self, count: int = 1, then: Callable[[], object] = int) -> None:
        """Carry the next requests, and reset the connection in place of their replies.

        Args:
            count: How many.
            then: What to do when a reply is there, before the client can learn of its loss.
        """
        self._drops, self._then = count, then

    def round_trips(self) -> int:
        """Give how often a client has begun to send, and was answered, until now."""
        with self._lock:
            return self._turns

    def held(self) -> int:
        """Give how many of the connections that are held have something to be carried."""
        ready, _, _ = select.select([end for end in self._held if end.fileno() >= 0], [], [], 0)
        return sum(bool(end.recv(1, socket.MSG_PEEK)) for end in ready)

    def answered(self) -> int:
        """Give how many pieces of a server's answers were there to be carried until now."""
        return self._answers

    def connections(self) -> int:
        """Give how many clients have connected until now."""
        return self._clients

    # -- How it works -----------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start(self._accept, self._listener)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed = True
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _listen(self, port: int) -> socket.socket:
        made: list[socket.socket] = []

        def is_free() -> bool:
            with suppress(OSError):
                made.append(socket.create_server(("127.0.0.1", port), backlog=128))
            return bool(made)

        # A thread that still waits at the listener before this one keeps its port until it looks.
        wait_until(is_free, f"port {port} gets free")
        made[0].settimeout(_TICK)
        return made[0]

    def _start(self, work: object, *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while not self._closed:
            try:
                client, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            self._clients += 1
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            try:
                if self._mode not in ("refuse", "reset"):
                    server.connect(("127.0.0.1", self._target))
                    self._open.add(client)
                    self._carry(client, server)
            except OSError:
                pass
            self._open.discard(client)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def _carry(self, client: socket.socket, server: socket.socket) -> None:
        asking = False
        while not self._closed and self._mode not in ("refuse", "reset"):
            ready, _, _ = select.select([client, server], [], [], _TICK)
            if self._mode == "stall" or client in self._held:
                time.sleep(_TICK)
                continue
            for end in ready:
                data = end.recv(_CHUNK)
                if not data:
                    if asking and end is client and server.recv(_CHUNK):
                        self._answers += 1  # which nobody waits for
                    return
                if client in self._forgotten:
                    return
                if end is client:
                    asking = self._asked(asking)
                    server.sendall(data)
                    continue
                asking = False
                self._answers += 1
                if self._drop():
                    self._then()
                    return
                time.sleep(self._delay)
                self._answer(client, data)

    def _answer(self, client: socket.socket, data: bytes) -> None:
        size = 1 if self._trickle else len(data)
        for start in range(0, len(data), size):
            if self._closed:
                return
            time.sleep(self._trickle)
            client.sendall(data[start : start + size])

    def _asked(self, asking: bool) -> bool:
        if not asking:
            with self._lock:
                self._turns += 1
        return True

    def _drop(self) -> bool:
        with self._lock:
            self._drops -= 1
            return self._drops >= 0
