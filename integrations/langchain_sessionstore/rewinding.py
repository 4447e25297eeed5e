"""A turn that goes back to an earlier message: it runs as if nothing came after that.

What a turn reads is answered as if the log ended with the message, and what it writes goes into one
step with the rewind: so the log is as it was until the turn is saved, or all of it has happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from msgspec.structs import replace

from sessionstore import (
    InvalidMessageError,
    SessionConflictError,
    SessionData,
    SessionMessage,
    SessionNotFoundError,
    StoreUnavailableError,
)
from sessionstore.errors import OutageError
from sessionstore.integration import StoreFlow
from sessionstore.models import SYSTEM_ROLES, WITHOUT_SUMMARY, summary_of
from sessionstore.operations import (
    DeleteMessages,
    Get,
    GetMessages,
    Operation,
    ReplaceMessage,
    Rewind,
    Several,
    Update,
)

__all__ = [
    "REWIND_TO",
    "carried_out",
    "reading_rewound",
    "rewind_of",
    "saving_rewound",
    "without_rewind",
]

T = TypeVar("T")

REWIND_TO = "rewind_to"
_TRIES = 5

_carried_out: ContextVar[str | None] = ContextVar("sessionstore_carried_out", default=None)


def rewind_of(session_id: str, user_id: str | None, to: Any) -> Rewind | None:
    """Give the rewind that a call asks for.

    Args:
        session_id: The session.
        user_id: The caller.
        to: What the call names: the id of the last message that stays; ``None`` for no rewind.

    Returns:
        The operation; ``None`` where none is asked for, or where a turn around this one has carried
        it out, whose config is inherited.

    Raises:
        InvalidMessageError: It is no id of a message.
    """
    if to is None or to == _carried_out.get():
        return None
    try:
        return Rewind(session_id, to, user_id)
    except InvalidMessageError as error:
        raise InvalidMessageError(
            f"{REWIND_TO} must be the id of the last message that stays, or None: {error}"
        ) from None


@contextmanager
def carried_out(to: Any) -> Iterator[None]:
    """Run what may inherit a config whose rewind is carried out by now.

    Args:
        to: What the config names; ``None`` for nothing.

    Yields:
        While it runs.
    """
    if to is None:
        yield
        return
    token = _carried_out.set(to)
    try:
        yield
    finally:
        _carried_out.reset(token)


def without_rewind(config: RunnableConfig) -> RunnableConfig:
    """Give the config for what a turn runs: what remembers in there is not to rewind, too.

    Args:
        config: The turn's.

    Returns:
        The same, without the rewind.
    """
    given = config.get("configurable") or {}
    if REWIND_TO not in given:
        return config
    rest = {key: value for key, value in given.items() if key != REWIND_TO}
    return {**config, "configurable": rest}


def reading_rewound(flow: StoreFlow[T], rewind: Rewind | None) -> StoreFlow[T]:
    """Play a flow that reads, as if nothing came after a message.

    Args:
        flow: The flow.
        rewind: Names the message; ``None`` for the log as it is.

    Returns:
        What the flow gives.

    Raises:
        SessionNotFoundError: The session has no such message.
    """
    if rewind is None:
        return (yield from flow)
    return (yield from _answered(flow, _Rewound(rewind).reading))


def saving_rewound(flow: StoreFlow[T], rewind: Rewind | None) -> StoreFlow[T]:
    """Play a flow that writes, and rewind the log in the step of its first writes.

    Those are its corrections, with what it appends behind them. What it reads before that ends with
    the message; what it asks for afterwards finds the log that was rewound.

    Args:
        flow: The flow.
        rewind: Names the message; ``None`` for the log as it is.

    Returns:
        What the flow gives.

    Raises:
        SessionNotFoundError: The session has no such message, or not any more.
    """
    if rewind is None:
        return (yield from flow)
    rewound = _Rewound(rewind)
    result = yield from _answered(flow, rewound.saving)
    if not rewound.is_done:
        yield from rewound.step()
    return result


def _answered(
    flow: StoreFlow[T], answer: Callable[[Operation[Any]], StoreFlow[Any]]
) -> StoreFlow[T]:
    """Play a flow, each of whose requests is answered by another one."""
    resume: Callable[[Any], Any] = flow.send
    reply: Any = None
    try:
        while True:
            request = resume(reply)
            try:
                resume, reply = flow.send, (yield from answer(request))
            except Exception as error:  # noqa: BLE001 - handed to the flow, which may go on
                resume, reply = flow.throw, error
    except StopIteration as over:
        return over.value  # type: ignore[no-any-return]
    finally:
        reply = None  # an error's traceback holds this frame: together they would wait for the gc
        flow.close()


class _Rewound:
    """A log as it is to be: nothing stands behind a message.

    Attributes:
        is_done: Whether it is so by now.
    """

    def __init__(self, rewind: Rewind) -> None:
        self.is_done: bool = False
        self._rewind = rewind
        self._next: str | None = None
        self._corrections: list[ReplaceMessage | DeleteMessages | Update] = []
        self._head: SessionData | None = None
        self._keeps_summary: bool = False

    def step(self, *writes: Any) -> StoreFlow[list[Any]]:
        """Carry out what makes it so, with those writes at its end, in one step."""
        without = yield from self._without_summary()
        step = Several([self._rewind, *without, *self._corrections, *writes])
        results: list[Any] = yield step
        return results

    def _without_summary(self) -> StoreFlow[list[Update]]:
        """Take away a summary that ends in what goes: that may be said again with its ids."""
        session_id, user_id = self._rewind.session_id, self._rewind.user_id
        if self._head is None:  # a chain has read in a flow of its own
            self._head = yield Get(session_id, 0, user_id)
            yield from self._looking_for_summary()
        summary = summary_of(self._head.metadata) if self._head else None
        if summary is None or self._keeps_summary:
            return []
        return [Update(session_id, None, WITHOUT_SUMMARY, user_id)]

    def _looking_for_summary(self) -> StoreFlow[None]:
        summary = summary_of(self._head.metadata) if self._head else None
        if summary is None:
            return
        behind = GetMessages(
            self._rewind.session_id, 0, after=summary.until, user_id=self._rewind.user_id
        )
        with suppress(InvalidMessageError, StoreUnavailableError):
            yield from self._following(behind, summary.until)

    def saving(self, request: Operation[Any]) -> StoreFlow[Any]:
        """Answer a request of a flow that writes."""
        if self.is_done:
            return (yield request)
        if not request.is_write:
            return (yield from self.reading(request))
        if isinstance(request, (ReplaceMessage, DeleteMessages, Update)):
            self._corrections.append(request)
            return request.message_ids if isinstance(request, DeleteMessages) else None
        results = yield from self.step(request)
        self.is_done = True
        return results[-1]

    def reading(self, request: Operation[Any]) -> StoreFlow[Any]:
        """Answer a request of a flow that reads."""
        if isinstance(request, Get):
            return (yield from self._session(request))
        if not isinstance(request, GetMessages) or request.before is not None:
            return (yield request)
        if request.after is not None:
            return (yield from self._following(request, request.after))
        for _ in range(_TRIES):
            self._next = self._next or (yield from self._behind())
            if self._next is None:
                found = yield from self._to_the_end(request)
            else:
                found = yield from self._before(request, self._next)
            if found is not None:
                return found
        raise self._missing()

    def _session(self, read: Get) -> StoreFlow[SessionData | None]:
        session_id, user_id = read.session_id, read.user_id
        page = GetMessages(session_id, read.limit, user_id=user_id, keep_system=read.keep_system)
        messages = yield from self.reading(page)
        head: SessionData | None = yield Get(session_id, 0, user_id)
        self._head = head
        summary = summary_of(head.metadata) if head else None
        if summary is not None:
            ends = [message.id for message in messages] + [self._rewind.to]
            self._keeps_summary = summary.until in ends
        return None if head is None else replace(head, messages=messages)

    def _following(self, read: GetMessages, after: str) -> StoreFlow[list[SessionMessage]]:
        try:
            found: list[SessionMessage] = yield replace(read, limit=None)
        except StoreUnavailableError:  # an outage: whether it is behind the message is not known
            self._keeps_summary = True
            raise
        ids = [after, *(message.id for message in found)]
        to = self._rewind.to
        if to not in ids:
            raise InvalidMessageError(f"the session has no message {after!r} to go on from")
        self._keeps_summary = True  # only a summary's end is asked for
        return found[: ids.index(to)][: read.limit]

    def _to_the_end(self, read: GetMessages) -> StoreFlow[list[SessionMessage] | None]:
        found: list[SessionMessage] = yield read
        if not found:
            yield from self._require_known()
            raise self._missing()
        ids = [message.id for message in found]
        to = self._rewind.to
        return found[: ids.index(to) + 1] if to in ids else None  # others wrote just now

    def _before(self, read: GetMessages, message_id: str) -> StoreFlow[list[SessionMessage] | None]:
        try:
            found: list[SessionMessage] = yield replace(read, before=message_id)
        except InvalidMessageError:  # somebody has deleted it since
            self._next = None
            return None
        except StoreUnavailableError:  # an outage, perhaps: what is known of it is all there is
            known = yield from self._to_the_end(replace(read, limit=None))
            return known and _last(read, known)
        return found

    def _behind(self) -> StoreFlow[str | None]:
        to, session_id, user_id = self._rewind.to, self._rewind.session_id, self._rewind.user_id
        try:
            behind = yield GetMessages(session_id, 1, after=to, user_id=user_id)
        except InvalidMessageError:
            raise self._missing() from None
        return behind[0].id if behind else None

    def _require_known(self) -> StoreFlow[None]:
        """Raise where an outage shows a session as empty that was not seen before.

        A rewind of a session that must not be there writes nothing, and no fallback promises it.
        """
        try:
            yield replace(self._rewind, expected_version=0)
        except OutageError:
            raise OutageError(
                f"whether the session has the message {self._rewind.to!r} to rewind to is not "
                "known until the store is back: try again then"
            ) from None
        except (SessionConflictError, SessionNotFoundError):
            return

    def _missing(self) -> SessionNotFoundError:
        return SessionNotFoundError(
            f"the session has no message {self._rewind.to!r} to rewind to: nothing was changed"
        )


def _last(read: GetMessages, known: list[SessionMessage]) -> list[SessionMessage]:
    """Give as many of the last messages as a read asks for."""
    if read.limit is None or len(known) <= read.limit:
        return known
    keeps_first = read.keep_system and known[0].role in SYSTEM_ROLES
    return [*known[:keeps_first], *known[-read.limit :]]
