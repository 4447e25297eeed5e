"""What a checkpointer and its clones share, and what their calls ask for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias, TypeVar

from langgraph.checkpoint.serde.base import SerializerProtocol

from langgraph_sessionstore.calls import Call, as_message, decode
from langgraph_sessionstore.configs import key_of
from langgraph_sessionstore.counting import Calls
from langgraph_sessionstore.gate import Gate
from langgraph_sessionstore.primary import NOBODY, Reading, SaverStore
from langgraph_sessionstore.requests import SaverRequest
from langgraph_sessionstore.working_copy import WorkingCopy
from sessionstore import (
    CorruptMessageError,
    FallbackSessionStore,
    SessionMessage,
    SessionStoreError,
)
from sessionstore.flow import Flow
from sessionstore.operations import Append, Get, Operation, Ping

__all__ = ["Core", "JournalRequest", "SaverFlow"]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")


class JournalRequest(NamedTuple):
    """An operation for the journal.

    Attributes:
        operation: The operation.
        error: How the primary has failed just now, where it has: it is not asked again.
        reading: What a `Get` is to read.
    """

    operation: Operation[Any]
    error: Exception | None = None
    reading: Reading | None = None


SaverFlow: TypeAlias = Flow[SaverRequest | JournalRequest, Any, T]
"""A flow whose requests are calls of the primary saver, and operations of the journal."""


class Core:
    """What a `FallbackCheckpointer` and its clones share.

    Args:
        saver: The primary, as the store that the journal is replayed to.
        journal: The journal, and whether the primary is there.
        gate: By which the primary is asked.
        max_threads: Of how many threads something is known.
        retry_after: How long what waits is left alone where nothing of it could be replayed.
        raises: What was never seen is not to be taken for empty.

    Attributes:
        saver: The primary, as a store.
        journal: The journal.
        gate: By which the primary is asked; it tells which errors say that it is away.
        copy: What the threads in use need to go on.
        calls: How often what was called.
    """

    def __init__(
        self,
        saver: SaverStore,
        journal: FallbackSessionStore,
        gate: Gate,
        max_threads: int,
        retry_after: float,
        *,
        raises: bool,
    ) -> None:
        self.saver = saver
        self.journal = journal
        self.gate: Gate = gate
        self.copy: WorkingCopy = WorkingCopy(max_threads, journal.has_pending, raises=raises)
        self.calls: Calls = Calls()
        self._retry_after = retry_after
        self._drains_at = 0.0
        self._was_late = False
        self._restore()

    def _restore(self, key: str | None = None) -> None:
        """Know what the journals hold that were taken over."""
        for write in self.journal.pending():
            if key in (None, write.session_id):
                for message in getattr(write.operation, "messages", None) or []:
                    self._restore_call(write.session_id, message)

    def _restore_call(self, key: str, message: SessionMessage) -> None:
        try:
            call = decode(message)
        except CorruptMessageError:  # it is set aside when its turn comes
            self.copy.tear(key)
        else:
            self.copy.add(call)

    def known(self, thread_id: str) -> WorkingCopy:
        """Give the working copy, with what was taken over of a thread since it was made."""
        key = key_of(thread_id)
        if self.copy.stamp(thread_id) < 0 and self.journal.has_pending(key):
            self._restore(key)
        return self.copy

    def remember(self, thread_id: str, note: Callable[..., None], *what: Any) -> None:
        """Have the working copy take note of what the primary has done.

        Where it can't, the thread is one that was never seen: that is no fault of the call, which
        took effect.
        """
        try:
            note(*what)
        except Exception as error:  # noqa: BLE001 - of a checkpoint that is not as LangGraph makes it
            self.copy.forget([thread_id])
            _logger.warning("a thread can't go on in an outage: %s", type(error).__name__)

    def is_clear(self, thread_id: str) -> bool:
        """Tell whether the primary is there, and nothing of the thread waits for it."""
        return self.journal.is_clear(key_of(thread_id))

    def settle(self, thread_id: str) -> SaverFlow[bool]:
        """Try the primary where that is due, and replay what waits for a thread.

        Returns:
            Whether the primary may be asked now.
        """
        if self.is_clear(thread_id):
            return True
        yield JournalRequest(Get(key_of(thread_id), 0))
        return self.is_clear(thread_id)

    def settle_all(self) -> SaverFlow[bool]:
        """Try the primary where that is due, and replay all that waits.

        Returns:
            Whether the primary may be asked now about any thread.
        """
        yield from self.settle(NOBODY)
        for key in dict.fromkeys(write.session_id for write in self.journal.pending()):
            if self.journal.is_degraded():
                break
            yield from self.settle(key)
        return self.is_clear(NOBODY) and not self.journal.has_pending()

    def note(self, thread_id: str, error: Exception) -> SaverFlow[None]:
        """Take note that the primary did not answer for a thread."""
        self._was_late = True
        yield JournalRequest(Get(key_of(thread_id), 0), error)

    def keep_up(self) -> SaverFlow[None]:
        """Replay a little of what waits of other threads. Nothing of it fails the caller."""
        drains = self.journal.has_pending() and time.monotonic() >= self._drains_at
        if not (drains or self._was_late):
            return
        self._was_late = False  # it has answered: what was late was so by itself
        before = self.journal.stats().replayed
        with suppress(SessionStoreError):
            yield JournalRequest(Ping())
        if self.journal.stats().replayed == before:
            self._drains_at = time.monotonic() + self._retry_after

    def keep_known(
        self, serde: SerializerProtocol, thread_id: str, checkpoint_id: str
    ) -> SaverFlow[None]:
        """Have a journal know what the primary has just taken, where it began meanwhile."""
        key = key_of(thread_id)
        if not self.journal.has_pending(key):
            return
        calls = self.copy.known_calls(serde, thread_id)
        taken = [as_message(call) for call in calls if call.checkpoint_id == checkpoint_id]
        if taken:
            with suppress(SessionStoreError):  # it is in the primary
                yield JournalRequest(Append(key, taken))

    def write_down(
        self, serde: SerializerProtocol, call: Call, error: Exception | None
    ) -> SaverFlow[None]:
        """Journal a call: from then on it is promised.

        Raises:
            StoreUnavailableError: The journal is full, or the fallback store fails.
        """
        key = key_of(call.thread_id)
        self._was_late |= error is not None
        known: list[Call] = []
        if not self.journal.has_pending(key):
            known = self.copy.known_calls(serde, call.thread_id)
        messages = [as_message(each) for each in [*known, call]]
        yield JournalRequest(Append(key, messages), error)
        self.copy.add(call)
