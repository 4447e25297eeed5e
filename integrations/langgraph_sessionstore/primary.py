"""`SaverStore`: a checkpointer as a store, to which a fallback replays the calls of its journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any, NamedTuple, NoReturn, TypeVar, overload

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

from langgraph_sessionstore.calls import Put, arguments_of, decode, method_of
from langgraph_sessionstore.configs import config_of
from langgraph_sessionstore.in_time import acalled_in_time, called_in_time
from langgraph_sessionstore.outages import is_refusal, unavailable
from sessionstore import InvalidMessageError, SessionStore, SessionStoreError
from sessionstore.deadline import remaining
from sessionstore.flow import Flow, aplay, play
from sessionstore.operations import Append, Get, Operation, Ping
from sessionstore.runner import counted

__all__ = [
    "NOBODY",
    "Reading",
    "SaverRequest",
    "SaverStore",
    "asend_to",
    "asking",
    "original",
    "send_to",
]

T = TypeVar("T")
_logger = logging.getLogger("sessionstore")
NOBODY = "sessionstore:ping"
"""The thread that is read to see whether the primary answers: there is none of that name."""


class SaverRequest(NamedTuple):
    """A call of a saver.

    Attributes:
        method: The name of its sync method; the async one has an ``a`` in front.
        args: With what.
        kwargs: And what else.
    """

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


# What may still take effect when nobody waits for it any more. Not so a late deletion: newer things
# may be there.
_HARMLESS_LATER = ("get_tuple", "put", "put_writes", "get_delta_channel_history")


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


def send_to(
    saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None = None
) -> Any:
    """Carry out a request.

    Args:
        saver: The saver.
        request: What to ask it.
        timeout: How long to wait for it, in seconds; ``None`` for as long as it likes.
    """
    call = partial(getattr(saver, request.method), *request.args, **request.kwargs)
    if timeout is None or request.method not in _HARMLESS_LATER:
        return call()
    return called_in_time(timeout, call)


async def asend_to(
    saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None = None
) -> Any:
    """Async twin of `send_to`."""
    call = getattr(saver, f"a{request.method}")(*request.args, **request.kwargs)
    if timeout is None or request.method not in _HARMLESS_LATER:
        return await call
    return await acalled_in_time(timeout, call)


class SaverStore(SessionStore):
    """A checkpointer that takes calls as messages.

    It is the primary of the `FallbackSessionStore` that keeps the journal: what is appended to a
    session is carried out, one call after the other.

    Args:
        saver: The checkpointer. Whoever made it closes it.
        is_outage: Tells which errors say that it is away.
        timeout: How long a call may take, in seconds; ``None`` for as long as it likes.

    Attributes:
        saver: The checkpointer.
    """

    def __init__(
        self,
        saver: BaseCheckpointSaver[Any],
        is_outage: Callable[[Exception], bool],
        timeout: float | None,
    ) -> None:
        """Ask it nothing yet."""
        self.saver: BaseCheckpointSaver[Any] = saver
        self._is_outage = is_outage
        self._timeout = timeout

    def __repr__(self) -> str:
        """Tell what saver it is."""
        return type(self.saver).__name__

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds."""
        return self._timeout

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
        return send_to(self.saver, request, remaining(self._timeout))

    async def _asend(self, request: SaverRequest) -> Any:
        return await asend_to(self.saver, request, remaining(self._timeout))

    def _flow(self, operation: Operation[Any]) -> Flow[SaverRequest, Any, Any]:
        failure = _failure.get()
        if failure is not None and failure.error is not None:
            raise unavailable(failure.error, repr(self)) from failure.error
        if isinstance(operation, Append):
            return self._append(operation)
        if isinstance(operation, Ping):
            return self._read(NOBODY)
        if isinstance(operation, Get):
            return self._read(operation.session_id, _reading.get())
        raise TypeError(f"{self!r} can't carry out {type(operation).__name__}")

    def _read(
        self, thread_id: str, reading: Reading | None = None
    ) -> Flow[SaverRequest, Any, None]:
        """See whether it answers for a thread, and what, where that is wanted."""
        config = config_of(thread_id, "", "") if reading is None else reading.config
        answer = yield from self._ask(SaverRequest("get_tuple", (config,)))
        if reading is not None:
            reading.answer, reading.is_answered = answer, True

    def _append(self, append: Append) -> Flow[SaverRequest, Any, int]:
        calls = [decode(message) for message in append.messages]
        known = {call.checkpoint_id for call in calls if isinstance(call, Put)}
        begins = any(call.known for call in calls)
        looked_at: set[str] = set()
        for call in calls:
            if call.known:
                continue
            if isinstance(call, Put) and call.checkpoint_ns not in looked_at:
                looked_at.add(call.checkpoint_ns)
                if begins or call.parent_id is None:
                    yield from self._report_others(call, known)
            arguments = arguments_of(self.saver.serde, call)
            yield from self._ask(SaverRequest(method_of(call), arguments))
        return len(calls)

    def _report_others(self, call: Put, known: set[str]) -> Flow[SaverRequest, Any, None]:
        """Log that others have gone on with a thread meanwhile, where they have."""
        asked = config_of(call.thread_id, call.checkpoint_ns, "")
        there = yield from self._ask(SaverRequest("get_tuple", (asked,)))
        latest = there.checkpoint["id"] if there is not None else None
        if latest not in known | {call.parent_id, None}:
            _logger.warning(
                "a thread was gone on with by others in the outage: both lines are kept, and the "
                "newest checkpoint is the latest: %s was found beside %s",
                latest,
                call.checkpoint_id,
            )

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
        if self._is_outage(error):
            raise unavailable(error, repr(self)) from error
        reason = f"{self!r} refused this: {type(error).__name__}, see the cause"
        if is_refusal(error):
            raise _FinallyRefusedError(reason, error) from error
        raise _RefusedError(reason, error) from error
