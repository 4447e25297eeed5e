"""`SaverStore`: a checkpointer as a store, to which a fallback replays the calls of its journal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, NoReturn, TypeVar, overload

from langgraph.checkpoint.base import BaseCheckpointSaver

from langgraph_sessionstore.calls import Put, arguments_of, decode, method_of
from langgraph_sessionstore.configs import config_of
from langgraph_sessionstore.outages import is_refusal, unavailable
from sessionstore import InvalidMessageError, SessionStore, SessionStoreError
from sessionstore.flow import Flow, aplay, play
from sessionstore.operations import Append, Get, Operation, Ping
from sessionstore.runner import counted

__all__ = ["NOBODY", "SaverRequest", "SaverStore", "asend_to", "failing", "original", "send_to"]

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


class _Failure:
    """How a call has failed just now, so that nobody waits for the primary a second time."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error


_failure: ContextVar[_Failure | None] = ContextVar("langgraph_sessionstore_failure", default=None)


@contextmanager
def failing(error: Exception | None) -> Iterator[None]:
    """Have the primary fail as it just did, for what is done in this block."""
    token = _failure.set(_Failure(error) if error is not None else None)
    try:
        yield
    finally:
        _failure.reset(token)


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


def send_to(saver: BaseCheckpointSaver[Any], request: SaverRequest) -> Any:
    """Carry out a request."""
    return getattr(saver, request.method)(*request.args, **request.kwargs)


async def asend_to(saver: BaseCheckpointSaver[Any], request: SaverRequest) -> Any:
    """Async twin of `send_to`."""
    return await getattr(saver, f"a{request.method}")(*request.args, **request.kwargs)


class SaverStore(SessionStore):
    """A checkpointer that takes calls as messages.

    It is the primary of the `FallbackSessionStore` that keeps the journal: what is appended to a
    session is carried out, one call after the other.

    Args:
        saver: The checkpointer. Whoever made it closes it.
        is_outage: Tells which errors say that it is away.

    Attributes:
        saver: The checkpointer.
    """

    def __init__(
        self, saver: BaseCheckpointSaver[Any], is_outage: Callable[[Exception], bool]
    ) -> None:
        """Ask it nothing yet."""
        self.saver = saver
        self._is_outage = is_outage

    def __repr__(self) -> str:
        """Tell what saver it is."""
        return type(self.saver).__name__

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation."""
        return play(self._flow(operation), lambda request: send_to(self.saver, request))

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return await aplay(self._flow(operation), lambda request: asend_to(self.saver, request))

    def close(self) -> None:
        """Leave the saver to its owner."""

    async def aclose(self) -> None:
        """Leave the saver to its owner."""

    def _flow(self, operation: Operation[Any]) -> Flow[SaverRequest, Any, Any]:
        failure = _failure.get()
        if failure is not None and failure.error is not None:
            raise unavailable(failure.error, repr(self)) from failure.error
        if isinstance(operation, Append):
            return self._append(operation)
        if isinstance(operation, Ping):
            return self._read(NOBODY)
        if isinstance(operation, Get):
            return self._read(operation.session_id)
        raise TypeError(f"{self!r} can't carry out {type(operation).__name__}")

    def _read(self, thread_id: str) -> Flow[SaverRequest, Any, None]:
        """See whether it answers for a thread: what it holds is not asked for."""
        yield from self._ask(SaverRequest("get_tuple", (config_of(thread_id, "", ""),)))

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
