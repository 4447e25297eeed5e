"""`PendingCall`: a call that waits for the primary, or was set aside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.calls import Call, arguments_of, decode, method_of
from sessionstore import CorruptMessageError
from sessionstore.fallback.pending import PendingWrite

__all__ = ["PendingCall", "calls_of"]


class PendingCall:
    """A call of a checkpointer that a fallback has journaled for its primary.

    To do by hand what was set aside: ``getattr(saver, call.method)(*call.arguments())``.

    Attributes:
        id: The id of the write that holds it.
        method: The method: ``"put"``, ``"put_writes"`` or ``"delete_thread"``; empty of what
            can't be read.
        thread_id: The thread.
        checkpoint_ns: The namespace.
        checkpoint_id: The checkpoint; empty of a whole thread.
        reason: Why it was set aside: the name of an error; empty of what waits.
    """

    def __init__(self, write: PendingWrite, call: Any, serde: SerializerProtocol) -> None:
        """Describe it: `pending` and `rejected` do."""
        self.id: str = write.id
        self.method: str = method_of(call) if call else ""
        self.thread_id: str = call.thread_id if call else write.session_id
        self.checkpoint_ns: str = call.checkpoint_ns if call else ""
        self.checkpoint_id: str = call.checkpoint_id if call else ""
        self.reason: str = write.reason
        self._call: Call | None = call
        self._serde = serde

    def __repr__(self) -> str:
        """Tell what it is about: never what it holds."""
        return f"PendingCall({self.method or '?'}, {self.checkpoint_id!r}, {self.reason!r})"

    def arguments(self) -> tuple[Any, ...]:
        """Give the arguments of the call, decoded; none of what can't be read."""
        return arguments_of(self._serde, self._call) if self._call else ()


def calls_of(writes: list[PendingWrite], serde: SerializerProtocol) -> Iterator[PendingCall]:
    """Give the calls that some writes of a journal hold."""
    for write in writes:
        messages = getattr(write.operation, "messages", None)
        if messages is None:
            yield PendingCall(write, None, serde)
            continue
        for message in messages:
            try:
                call = decode(message)
            except CorruptMessageError:
                yield PendingCall(write, None, serde)
            else:
                if not call.known:
                    yield PendingCall(write, call, serde)
