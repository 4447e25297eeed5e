"""What a `FallbackSessionStore` does for each operation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from sessionstore.fallback.forking import forked, learn_fork, new_session_of
from sessionstore.fallback.learning import (
    learn_append,
    learn_messages,
    learn_nothing,
    learn_restore,
    learn_session,
    learn_update,
    learn_write,
)
from sessionstore.fallback.leasing import refuse_lease
from sessionstore.fallback.outage import (
    journaled,
    ping_fallback,
    recalled,
    recalled_list,
    refuse_prune,
    wait_for_first_use,
)
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.fallback.resealing import learn_reseal, refuse_reseal
from sessionstore.fallback.rewinding import learn_rewind
from sessionstore.fallback.routing import Route, operate
from sessionstore.fallback.scrubbing import scrub
from sessionstore.fallback.several import done_together, learn_several
from sessionstore.models import SessionData, SessionMessage, SessionPage
from sessionstore.operations import (
    AcquireLease,
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReleaseLease,
    RenewLease,
    ReplaceMessage,
    Reseal,
    Restore,
    Rewind,
    Scrub,
    Setup,
    Several,
    Update,
    as_several,
)

__all__ = ["flow_of"]


def flow_of(parts: Parts, operation: Operation[Any]) -> FallbackFlow[Any]:
    """Give the flow that carries an operation out."""
    make_flow = _FLOWS.get(type(operation))
    if make_flow is not None:
        return make_flow(parts, operation)
    route = _ROUTES.get(type(operation))
    if route is None:
        return _several(parts, as_several("FallbackSessionStore", operation))
    return operate(parts, operation, route)


def _get_messages(parts: Parts, read: GetMessages) -> FallbackFlow[list[SessionMessage]]:
    whole = _whole(read)
    if whole is None:
        given: list[SessionMessage] = yield from operate(parts, read, _MESSAGES)
        return given
    data: SessionData | None = yield from operate(parts, whole, _ROUTES[Get])
    return data.messages if data else []


def _several(parts: Parts, asked: Several) -> FallbackFlow[list[Any]]:
    route = _SEVERAL if asked.is_write else _SEVERAL_READ
    first, *rest = asked.operations
    whole = _whole(first)
    if whole is None:
        plain: list[Any] = yield from operate(parts, asked, route)
        return plain
    data, *others = yield from operate(parts, Several([whole, *rest]), route)
    return [data.messages if data else [], *others]


def _whole(read: Operation[Any]) -> Get | None:
    """Give what reads the same messages with all that is known of the session: owner, version.

    It is ``None`` where there is no such, as for a page.
    """
    if not isinstance(read, GetMessages) or read.before is not None or read.after is not None:
        return None
    if read.keep_system and read.limit is not None:
        return None
    return Get(read.session_id, read.limit, read.user_id)


def _set_up(parts: Parts, asked: Setup) -> FallbackFlow[None]:
    """Set up both stores; a primary that is away is set up by its first use."""
    yield from ask(parts.fallback, asked)
    yield from operate(parts, asked, _SETUP)


def _list_sessions(parts: Parts, read: ListSessions) -> FallbackFlow[SessionPage]:
    if read.cursor is not None and read.cursor.startswith(parts.cursor):
        return (yield from recalled_list(parts, read))  # it began in an outage
    page: SessionPage = yield from operate(parts, read, _LIST)
    return replace(page, partial=True) if parts.journal.size else page


_WRITE = Route(learn_write, journaled, writes=True, reads=False)
_MESSAGES = Route(learn_messages, recalled)
_LIST = Route(learn_nothing, recalled_list)
_SEVERAL = Route(learn_several, done_together, writes=True)
_LEASE = Route(learn_nothing, refuse_lease, writes=True, reads=False)
_SETUP = Route(learn_nothing, wait_for_first_use)
_SEVERAL_READ = Route(learn_several, done_together)
_FLOWS: dict[type, Callable[[Parts, Any], FallbackFlow[Any]]] = {
    GetMessages: _get_messages,
    ListSessions: _list_sessions,
    Several: _several,
    Setup: _set_up,
    Scrub: scrub,
}
_ROUTES: dict[type, Route] = {
    Append: Route(learn_append, journaled, writes=True, reads=False),
    Create: _WRITE,
    Restore: Route(learn_restore, journaled, writes=True, reads=False),
    ReplaceMessage: _WRITE,
    DeleteMessages: _WRITE,
    Rewind: Route(learn_rewind, journaled, writes=True),
    Update: Route(learn_update, journaled, writes=True, reads=False),
    Delete: _WRITE,
    Fork: Route(learn_fork, forked, writes=True, also=new_session_of),
    Reseal: Route(learn_reseal, refuse_reseal, writes=True, reads=False),
    AcquireLease: _LEASE,
    RenewLease: _LEASE,
    ReleaseLease: _LEASE,
    Fence: Route(learn_nothing, refuse_lease, reads=False),
    Get: Route(learn_session, recalled),
    Prune: Route(learn_nothing, refuse_prune),
    Ping: Route(learn_nothing, ping_fallback),
}
