"""An operation that waits: whoever is at work on the file may carry it out along with its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from sessionstore.models import encode_metadata
from sessionstore.operations import (
    AcquireLease,
    Append,
    Create,
    DeleteMessages,
    Operation,
    ReleaseLease,
    RenewLease,
    ReplaceMessage,
    Reseal,
    Restore,
    Several,
    Update,
)
from sessionstore.rows.sessions import Records, encoded
from sessionstore.sqlite.calls import Call

if TYPE_CHECKING:
    import asyncio
    from asyncio import AbstractEventLoop

__all__ = ["Job", "Work", "answer", "is_long"]

T = TypeVar("T")

Work: TypeAlias = Callable[[Any, Any], T]
"""What an operation does in its `Transaction`."""

_LONG = 1000  # messages, or sessions: who reads more keeps those waiting who read less
_MOST = 100  # messages, or ids of some
_LARGEST = 256 * 1024  # bytes that it writes
_BATCHES = (Append, Create, Restore, Reseal)
_SMALL = (ReplaceMessage, AcquireLease, RenewLease, ReleaseLease)


class Job(Generic[T]):
    """One operation, who is at it, and what came of it.

    Whoever begins with it claims it before, in one step of a dictionary: a caller whose time is up
    claims it, too, and then nobody else begins with it.

    Args:
        call: The call that it is done for.
        work: What it does in its transaction.
        operation: The operation.

    Attributes:
        call: As given.
        work: As given.
        operation: As given.
        alone: It is large, or of unknown size, or failed along with others: it neither takes others
            into its transaction nor goes along in theirs.
        records: The messages to write, once they are encoded: those of each operation by its `id`.
        result: What the work gave.
        error: What it raised.
        over: The result, or the error, is final.
        listeners: What is done on an event loop once it is over.
        requeue: Has it carried out by whoever comes to it, where it waits for no thread of its own.
    """

    __slots__ = (
        "_holder",
        "alone",
        "call",
        "error",
        "listeners",
        "operation",
        "over",
        "records",
        "requeue",
        "result",
        "work",
    )

    def __init__(self, call: Call, work: Work[T], operation: Operation[T]) -> None:
        self.call: Call = call
        self.work: Work[T] = work
        self.operation: Operation[T] = operation
        self.alone: bool = operation.is_write and not _is_small(operation)
        self.records: dict[int, Records] = {}
        self.result: Any = None
        self.error: BaseException | None = None
        self.over: bool = False
        self.listeners: list[asyncio.Future[None]] = []
        self.requeue: Callable[[Job[Any]], None] | None = None
        self._holder: dict[int, object] = {}

    def twin(self) -> Job[T]:
        """Give the same once more, to be carried out by this one's thread or along with others."""
        twin = Job(self.call, self.work, self.operation)
        twin.alone, twin.records = self.alone, self.records
        return twin

    def claim(self, by: object) -> bool:
        """Keep all others from it; tell whether none was first."""
        holder = self._holder
        return not (self.over or holder) and holder.setdefault(0, by) is by

    def is_held(self, by: object) -> bool:
        """Tell who has claimed it."""
        return self._holder.get(0) is by

    def is_claimed(self) -> bool:
        """Tell whether somebody has."""
        return bool(self._holder)

    def may_go_along(self) -> bool:
        """Tell whether it may be carried out along with another."""
        return not (self.alone or self._holder)

    def put_back(self, *, alone: bool) -> None:
        """Forget what was done for it, and let others claim it.

        Args:
            alone: It is tried again in a transaction of its own.
        """
        self.result = self.error = None
        self.alone = self.alone or alone
        self._holder.clear()
        if self.requeue:
            self.requeue(self)
        self.call.wake()

    def weigh(self) -> int:
        """Give how many bytes it writes; one that writes many goes alone from now on.

        Raises:
            SessionStoreError: What it writes can't be stored as JSON.
        """
        weight = 0
        for part in _parts_of(self.operation):
            metadata = getattr(part, "metadata", None)
            if metadata:
                weight += len(encode_metadata(metadata))
            for message_id, body in self.encoded(part):
                weight += len(message_id) + len(body)
        self.alone = self.alone or weight > _LARGEST
        return weight

    def encoded(self, part: Operation[Any]) -> Records:
        """Give the messages of the operation, or of one of several, encoded once.

        Raises:
            InvalidMessageError: One of them can't be stored as JSON.
        """
        records = self.records.get(id(part))
        if records is None:
            records = self.records[id(part)] = encoded(_messages_of(part))
        return records

    def outcome(self) -> T:
        """Give what the work gave, or raise what it raised."""
        error, self.error = self.error, None
        if error is None:
            result: T = self.result
            return result
        try:
            raise error
        finally:
            error = None  # its traceback holds this frame


def _is_small(operation: Any) -> bool:
    """Tell whether a write is known to be a small one, before it is encoded."""
    kind = type(operation)
    if kind in _BATCHES:
        return len(operation.messages) <= _MOST
    if kind is Update:
        return operation.messages is None
    if kind is DeleteMessages:
        return len(operation.message_ids) <= _MOST
    if kind is Several:
        parts = operation.operations
        return all(_is_small(part) if part.is_write else not is_long(part) for part in parts)
    return kind in _SMALL


def is_long(operation: Operation[Any]) -> bool:
    """Tell whether it may read more messages than others should wait for."""
    if isinstance(operation, Several):
        return any(map(is_long, operation.operations))
    limit: int | None = getattr(operation, "limit", 0)
    last: int = getattr(operation, "last", 0)  # of each session that a list gives
    return limit is None or limit * max(1, last) > _LONG


def _parts_of(operation: Operation[Any]) -> Sequence[Operation[Any]]:
    return operation.operations if isinstance(operation, Several) else (operation,)


def _messages_of(operation: Any) -> Any:
    if type(operation) is ReplaceMessage:
        return [operation.message]
    return getattr(operation, "messages", None) or ()


def answer(jobs: Iterable[Job[Any]]) -> None:
    """Say that some jobs are over: to each thread that waits, and to each loop once."""
    overs: dict[AbstractEventLoop, deque[asyncio.Future[None]]] = {}
    words = 1
    for job in jobs:
        job.over = True
        job.call.wake()
        for listener in job.listeners:
            overs.setdefault(listener.get_loop(), deque()).append(listener)
        if job.call.given_up:
            # A Ctrl-C may come upon the one, and whoever is settling waits for no other.
            words = 2
    for loop, some in overs.items():
        with suppress(RuntimeError):  # the loop was closed meanwhile
            for _ in range(words):
                loop.call_soon_threadsafe(_end, loop, some)


def _end(loop: AbstractEventLoop, listeners: deque[asyncio.Future[None]]) -> None:
    if len(listeners) > 1:
        loop.call_soon(_end, loop, listeners)  # for what a Ctrl-C leaves here
    while listeners:
        if not listeners[0].done():
            listeners[0].set_result(None)
        listeners.popleft()
