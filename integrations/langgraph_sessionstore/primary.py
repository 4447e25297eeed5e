"""`SaverStore`: a checkpointer as a store, to which a fallback replays the calls of its journal."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NoReturn, TypeVar, overload

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from langgraph_sessionstore.calls import Call, Delete, Put, decode, method_of, replayed_arguments
from langgraph_sessionstore.configs import config_of
from langgraph_sessionstore.gate import Gate, met_outage
from langgraph_sessionstore.outages import is_refusal, unavailable
from langgraph_sessionstore.requests import SaverRequest
from sessionstore import (
    CorruptMessageError,
    InvalidMessageError,
    OutageError,
    SessionStore,
    SessionStoreError,
)
from sessionstore.deadline import remaining
from sessionstore.flow import Flow, aplay, play
from sessionstore.operations import Append, Get, Operation, Ping, Scrub, Trace
from sessionstore.runner import counted

__all__ = [
    "NOBODY",
    "Reading",
    "SaverStore",
    "asking",
    "original",
]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")
_MOST_DONE = 10_000
_GONE_ON_WITH = "others have gone on with this thread since its deletion was asked for: ask again"
NOBODY = "sessionstore:ping"
"""The thread that is read to see whether the primary answers: there is none of that name."""


class _Failure:
    """How a call has failed just now, so that nobody waits for the primary a second time."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error


_failure: ContextVar[_Failure | None] = ContextVar("langgraph_sessionstore_failure", default=None)


class Reading:
    """A checkpoint that is wanted, once what waits for its thread is replayed.

    Args:
        config: Which one.

    Attributes:
        config: Which one.
        is_answered: The primary has answered.
        answer: What it has answered.
    """

    def __init__(self, config: RunnableConfig) -> None:
        self.config: RunnableConfig = config
        self.is_answered: bool = False
        self.answer: CheckpointTuple | None = None


_reading: ContextVar[Reading | None] = ContextVar("langgraph_sessionstore_reading", default=None)


@contextmanager
def asking(error: Exception | None, reading: Reading | None) -> Iterator[None]:
    """Have the primary fail as it just did, or read what is wanted, in this block.

    Args:
        error: How it has failed.
        reading: What is wanted.
    """
    failed = _failure.set(_Failure(error) if error is not None else None)
    wanted = _reading.set(reading)
    try:
        yield
    finally:
        _reading.reset(wanted)
        _failure.reset(failed)


@contextmanager
def original() -> Iterator[None]:
    """Raise what the saver raised, where it refused a call that its own caller waits for."""
    try:
        yield
    except _RefusedError as error:
        raise error.saver_error from None


class _RefusedError(SessionStoreError):
    """The saver is there, and raised something."""

    def __init__(self, text: str, saver_error: Exception) -> None:
        super().__init__(text)
        self.saver_error = saver_error


class _FinallyRefusedError(_RefusedError, InvalidMessageError):
    """The saver will never take it."""


class SaverStore(SessionStore):
    """A checkpointer that takes calls as messages.

    It is the primary of the `FallbackSessionStore` that keeps the journal: what is appended to a
    session is carried out, one call after the other.

    Args:
        saver: The checkpointer. Whoever made it closes it.
        gate: By which it is asked.

    Attributes:
        saver: The checkpointer.
    """

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        gate: Gate,
    ) -> None:
        """Ask it nothing yet."""
        self.saver: BaseCheckpointSaver[Any] = saver
        self._gate = gate
        # A deletion is not done twice, since by then others may have begun the thread anew; and so
        # neither is what came before it, which would stay.
        self._done: deque[str | None] = deque(maxlen=_MOST_DONE)

    def __repr__(self) -> str:
        """Tell what saver it is."""
        return type(self.saver).__name__

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds."""
        return self._gate.timeout

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation."""
        return play(self._flow(operation), self._send)

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return await aplay(self._flow(operation), self._asend)

    def close(self) -> None:
        """Leave the saver to its owner."""

    async def aclose(self) -> None:
        """Leave the saver to its owner."""

    def _send(self, request: SaverRequest) -> Any:
        return self._gate.send(self.saver, request, remaining(self._gate.timeout))

    async def _asend(self, request: SaverRequest) -> Any:
        return await self._gate.asend(self.saver, request, remaining(self._gate.timeout))

    def _flow(self, operation: Operation[Any]) -> Flow[SaverRequest, Any, Any]:
        failure = _failure.get()
        if failure is not None and failure.error is not None:
            error = met_outage(failure.error)
            raise unavailable(error, repr(self)) from error
        if isinstance(operation, Append):
            return self._append(operation)
        if isinstance(operation, Ping):
            return self._read(NOBODY)
        if isinstance(operation, Get):
            return self._read(operation.session_id, _reading.get())
        if isinstance(operation, Scrub):
            return self._nothing()
        raise TypeError(f"{self!r} can't carry out {type(operation).__name__}")

    def _read(
        self, thread_id: str, reading: Reading | None = None
    ) -> Flow[SaverRequest, Any, None]:
        """See whether it answers for a thread, and what, where that is wanted."""
        config = config_of(thread_id, "", "") if reading is None else reading.config
        answer = yield from self._ask(SaverRequest("get_tuple", (config,)))
        if reading is not None:
            reading.answer, reading.is_answered = answer, True

    def _nothing(self) -> Flow[SaverRequest, Any, list[Trace]]:
        """Keep nothing beside the threads, which the saver deletes by itself."""
        yield from ()
        return []

    def _append(self, append: Append) -> Flow[SaverRequest, Any, int]:
        calls = [decode(message) for message in append.messages]
        known = {call.checkpoint_id for call in calls if isinstance(call, Put)}
        begins = any(call.known for call in calls)
        looked_at: set[str] = set()
        for place, (message, call) in enumerate(zip(append.messages, calls, strict=True), 1):
            if call.known or message.id in self._done:
                continue
            if isinstance(call, Put) and call.checkpoint_ns not in looked_at:
                looked_at.add(call.checkpoint_ns)
                if begins or call.parent_id is None:
                    yield from self._report_others(call, known)
            if isinstance(call, Delete):
                yield from self._require_none_newer(call, known)
            arguments = self._arguments(call)
            yield from self._ask(SaverRequest(method_of(call), arguments))
            if isinstance(call, Delete):
                self._done.extend(each.id for each in append.messages[:place])
        return len(calls)

    def _arguments(self, call: Call) -> tuple[Any, ...]:
        try:
            return replayed_arguments(self.saver.serde, call)
        except Exception as error:
            raise CorruptMessageError(
                f"the serializer can't read this call of a checkpointer: {type(error).__name__}, "
                "see the cause"
            ) from error

    def _report_others(self, call: Put, known: set[str]) -> Flow[SaverRequest, Any, None]:
        """Log that others have gone on with a thread meanwhile, where they have."""
        latest = yield from self._latest(call)
        if latest not in known | {call.parent_id, None}:
            _logger.warning(
                "a thread was gone on with by others in the outage: both lines are kept, and the "
                "newest checkpoint is the latest: %s was found beside %s",
                latest,
                call.checkpoint_id,
            )

    def _require_none_newer(self, call: Delete, known: set[str]) -> Flow[SaverRequest, Any, None]:
        """Refuse a deletion of what others have put since it was asked for.

        Raises:
            InvalidMessageError: There is such a checkpoint. It is set aside.
        """
        latest = yield from self._latest(call)
        if call.before and latest is not None and latest > call.before and latest not in known:
            _logger.error(
                "a thread was not deleted: others have gone on with it since that was asked for, "
                "%s was found",
                latest,
            )
            raise _FinallyRefusedError(_GONE_ON_WITH, OutageError(_GONE_ON_WITH))

    def _latest(self, call: Call) -> Flow[SaverRequest, Any, str | None]:
        """Give the id of the latest checkpoint; ``None`` where there is none that can be read."""
        asked = config_of(call.thread_id, call.checkpoint_ns, "")
        try:
            there = yield from self._ask(SaverRequest("get_tuple", (asked,)))
        except _RefusedError:
            return None  # what others have put there can't be read: that is no matter to ours
        return str(there.checkpoint["id"]) if there is not None else None

    def _ask(self, request: SaverRequest) -> Flow[SaverRequest, Any, Any]:
        try:
            reply = yield request
        except NotImplementedError:
            raise  # the saver is only sync, or only async
        except SessionStoreError:
            raise
        except Exception as error:  # noqa: BLE001 - translated
            self._translate(error)
        failure = _failure.get()
        if failure is not None:
            failure.error = None  # it is back
        return reply

    def _translate(self, error: Exception) -> NoReturn:
        if self._gate.is_away(error):
            error = met_outage(error)
            raise unavailable(error, repr(self)) from error
        reason = f"{self!r} refused this: {type(error).__name__}, see the cause"
        if is_refusal(error):
            raise _FinallyRefusedError(reason, error) from error
        raise _RefusedError(reason, error) from error
