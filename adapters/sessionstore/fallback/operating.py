"""What a `FallbackSessionStore` does for each operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from sessionstore.fallback.entries import Write
from sessionstore.fallback.learning import learn_messages, learn_session, learn_write
from sessionstore.fallback.outage import (
    journaled,
    ping_fallback,
    recalled,
    recalled_list,
    refuse_prune,
)
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.fallback.routing import operate
from sessionstore.models import SessionData, SessionMessage, SessionPage
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReplaceMessage,
    Update,
    unknown_operation,
)

__all__ = ["flow_of"]


def flow_of(parts: Parts, operation: Operation[Any]) -> FallbackFlow[Any]:
    """Give the flow that carries an operation out."""
    flow = _OPERATIONS.get(type(operation))
    if flow is None:
        raise unknown_operation("FallbackSessionStore", operation)
    return flow(parts, operation)


def _write(parts: Parts, write: Write) -> FallbackFlow[Any]:
    return operate(parts, write, _learn_write, journaled, writes=True)


def _get(parts: Parts, read: Get) -> FallbackFlow[SessionData | None]:
    return operate(parts, read, _learn_session, recalled, writes=False)


def _get_messages(parts: Parts, read: GetMessages) -> FallbackFlow[list[SessionMessage]]:
    if not _is_at_end(read) or (read.keep_system and read.limit is not None):
        given: list[SessionMessage] = yield from operate(
            parts, read, _learn_messages, recalled, writes=False
        )
        return given
    # The whole session tells its owner and its version, too.
    whole = Get(read.session_id, read.limit, read.user_id)
    data: SessionData | None = yield from _get(parts, whole)
    return data.messages if data else []


def _list_sessions(parts: Parts, read: ListSessions) -> FallbackFlow[SessionPage]:
    if read.cursor is not None and read.cursor.startswith(parts.cursor):
        return (yield from recalled_list(parts, read))  # it began in an outage
    page: SessionPage = yield from operate(parts, read, _learn_nothing, recalled_list, writes=False)
    return replace(page, partial=True) if parts.journal.size else page


def _prune(parts: Parts, prune: Prune) -> FallbackFlow[int]:
    return operate(parts, prune, _learn_nothing, refuse_prune, writes=False)


def _ping(parts: Parts, ping: Ping) -> FallbackFlow[None]:
    return operate(parts, ping, _learn_nothing, ping_fallback, writes=False)


# -- What the cache learns from the primary's answer ----------------------------------------------


def _learn_write(parts: Parts, write: Write, result: Any, _: int) -> None:
    learn_write(parts.cache, write, result)


def _learn_session(parts: Parts, read: Get, data: SessionData | None, stamp: int) -> None:
    whole = data is not None and len(data.messages) == data.message_count
    learn_session(parts.cache, read.session_id, data, stamp, whole=whole)


def _learn_messages(
    parts: Parts, read: GetMessages, messages: list[SessionMessage], stamp: int
) -> None:
    if _is_at_end(read) and read.limit and messages:
        learn_messages(parts.cache, read, messages, stamp)


def _learn_nothing(*_: object) -> None:
    pass


def _is_at_end(read: GetMessages) -> bool:
    return read.before is None and read.after is None


_OPERATIONS: dict[type, Callable[[Parts, Any], FallbackFlow[Any]]] = {
    Append: _write,
    Create: _write,
    ReplaceMessage: _write,
    DeleteMessages: _write,
    Update: _write,
    Delete: _write,
    Get: _get,
    GetMessages: _get_messages,
    ListSessions: _list_sessions,
    Prune: _prune,
    Ping: _ping,
}
