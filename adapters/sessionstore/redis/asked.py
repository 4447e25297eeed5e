"""What waits to go with others: which commands may, how many at once, and how each is answered.

Commands that are ready at the same moment share one write and one read of a connection: nobody
waits for company, and whoever is alone goes alone. They share no more than that: each is a script,
atomic by itself, with a deadline, a second try and an outcome of its own.
"""

from __future__ import annotations

import copy
from typing import Any, TypeGuard

import redis

from sessionstore.redis.calls import Call, LongCall, WriteCall
from sessionstore.redis.requests import Command, Request
from sessionstore.redis.scripts import DROP, TOUCH
from sessionstore.redis.timed import SLOW

__all__ = [
    "CLOSED",
    "LATE",
    "MOST",
    "MOST_BYTES",
    "LargeReplies",
    "LateTogetherError",
    "NotSentError",
    "shared_sizes",
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
_LARGE_REPLY = 65_536  # and of a reply whose like comes by itself
_MOST_SESSIONS = 1000
_MOST_INDEXES = 3  # that a session is in
_LIST = b"several"  # the script of a list of operations
_PARTS = 3  # of the reply to a read that found a session


class NotSentError(Exception):
    """The time of a command was up before there was a connection for it.

    Args:
        began: Since when it waited, of `time.monotonic`.
    """

    def __init__(self, began: float) -> None:
        """Keep since when."""
        super().__init__("not sent")
        self.began = began


class LateTogetherError(redis.TimeoutError):
    """No answer came in time to one of several commands that shared a connection.

    Args:
        batch: What stands for all of them.
    """

    def __init__(self, batch: object) -> None:
        """Keep with which others."""
        super().__init__(SLOW)
        self.batch = batch


class LargeReplies:
    """The sessions whose last messages were large when they were read: nobody waits behind them.

    How large a reply is, only the reply tells. So the first of a session may go with others.
    """

    def __init__(self) -> None:
        """Know of none yet."""
        self._sessions: dict[str | None, None] = {}

    def may_be_of(self, command: Command) -> bool:
        """Tell whether the reply to a command may be large."""
        return _reads_messages(command) and command.session_id in self._sessions

    def learn(self, command: Command, reply: Any) -> None:
        """Note whether the reply to a command was."""
        if not _reads_messages(command):
            return
        replies = reply[1] if command.script.name == _LIST and len(reply) > 1 else [reply]
        sizes = [size for size in map(_bytes_read, replies) if size is not None]
        if not sizes:
            return
        if max(sizes) > _LARGE_REPLY:
            self._sessions[command.session_id] = None
            if len(self._sessions) > _MOST_SESSIONS:
                del self._sessions[next(iter(self._sessions))]
        elif self._sessions:
            self._sessions.pop(command.session_id, None)


def shared_sizes(request: Request) -> list[int]:
    """Give the bytes of commands that may go with others: they are short, as their replies are.

    All else goes by itself, so that nobody waits behind it: large writes, whole histories, lists,
    what is asked about replicas, scripts by their text, transactions, probes.

    Args:
        request: What a flow asks for.

    Returns:
        Of each; nothing for what goes by itself.
    """
    if type(request) is not list or len(request) > _MOST_INDEXES:
        return []
    sizes = [sum(map(len, command.words)) for command in request if _is_short(command)]
    return sizes if len(sizes) == len(request) and all(size <= _LARGE for size in sizes) else []


def _bytes_read(reply: Any) -> int | None:
    """Give the bytes of the reply to a read that found a session; ``None`` of all others."""
    if not isinstance(reply, list) or len(reply) != _PARTS:
        return None
    _, first, bodies = reply
    if not (isinstance(first, list) and isinstance(bodies, list)):
        return None
    return sum(map(len, first)) + sum(map(len, bodies))


def _reads_messages(command: Command) -> TypeGuard[Call]:
    kind = type(command)
    return kind is Call or (kind is WriteCall and command.script.name == _LIST)  # type: ignore[attr-defined]


def _is_short(command: Command) -> bool:
    if not isinstance(command, Call) or isinstance(command, LongCall):
        return False
    return command.session_id is not None or command.script in (TOUCH, DROP)


def twin_of(error: BaseException) -> BaseException:
    """Give an error like this one: of those that share a connection, each raises one of its own."""
    twin = copy.copy(error).with_traceback(None)
    twin.__cause__, twin.__context__ = error.__cause__, error.__context__
    return twin
