"""What waits to go with others: which commands may, how many at once, and how each is answered.

Commands that are ready at the same moment share one write and one read of a connection: nobody
waits for company, and whoever is alone goes alone. They share no more than that: each is a script,
atomic by itself, with a deadline, a second try and an outcome of its own.
"""

from __future__ import annotations

import copy

from sessionstore.redis.calls import Call, WriteCall
from sessionstore.redis.requests import Request

__all__ = [
    "CLOSED",
    "LATE",
    "MOST",
    "MOST_BYTES",
    "NotSentError",
    "shared_size",
    "twin_of",
]

MOST = 32
"""Commands that go together."""

MOST_BYTES = 65_536
"""And their bytes: the kernel takes so many at once, so that a write never waits for a read."""

CLOSED = "the connection was closed"
"""What is said of one that this process has closed under a command."""

LATE = 0.05
"""Seconds after which those that wait for a connection's replies take another connection."""

_LARGE = 16_384  # bytes of a command that goes by itself


class NotSentError(Exception):
    """The time of a command was up before there was a connection for it.

    Args:
        began: Since when it waited, of `time.monotonic`.
    """

    def __init__(self, began: float) -> None:
        """Keep since when."""
        super().__init__("not sent")
        self.began = began


def shared_size(request: Request) -> int:
    """Give the bytes of a request that may go with others: one that is short, as its reply is.

    All else goes by itself, so that nobody waits behind it: large writes, whole histories, lists,
    what is asked about replicas, scripts by their text, transactions, probes.

    Args:
        request: What a flow asks for.

    Returns:
        How many; 0 for what goes by itself.
    """
    if type(request) is not list or len(request) != 1:
        return 0
    command = request[0]
    kind = type(command)
    if (kind is not WriteCall and kind is not Call) or command.session_id is None:
        return 0
    size = sum(map(len, command.words))
    return size if size <= _LARGE else 0


def twin_of(error: BaseException) -> BaseException:
    """Give an error like this one: of those that share a connection, each raises one of its own."""
    twin = copy.copy(error).with_traceback(None)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    return twin
