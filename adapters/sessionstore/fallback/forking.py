"""A session is forked: what is learned of the new one, and what is done in an outage."""

from __future__ import annotations

from sessionstore.errors import (
    OutageError,
    SessionExistsError,
    SessionNotFoundError,
    StoreUnavailableError,
)
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.known import KnownSession
from sessionstore.fallback.outage import journaled
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.models import SessionData, SessionInfo, decode_messages, decode_metadata
from sessionstore.operations import Create, Fork

__all__ = ["forked", "learn_fork", "new_session_of"]

_UNKNOWN = "not all messages of this session are known: it can't be forked until the store is back"
_OPEN = "whose the new session may be is not known until the store is back: it is not made before"


def new_session_of(fork: Fork) -> str:
    """Name the session that a fork makes: what waits for that one is replayed before, too."""
    return str(fork.new_session_id)


def learn_fork(cache: SessionCache, fork: Fork, info: SessionInfo, stamp: int) -> None:
    """Take note of a session that the primary has made of another one.

    Args:
        cache: What is known.
        fork: What the primary was asked for.
        info: What it gave.
        stamp: That of the new session before it was: what is known since is behind the copy.
    """
    with cache.lock:
        if cache.is_pinned(info.id):
            return  # it was written to meanwhile: what is known here is more
        later = cache.look_up(info.id) if cache.stamp(info.id) != stamp else None
        source = cache.look_up(fork.session_id)
        copy = None
        if source is not None and not cache.is_pinned(fork.session_id):
            copy = source.forked(info)
        if copy is not None:
            if later is not None:
                copy.add(zip(later.positions, later.bodies, strict=True))
            cache.restore(copy)
        elif later is None:
            cache.drop(info.id)


def forked(parts: Parts, fork: Fork) -> FallbackFlow[SessionInfo]:
    """Journal the session that a fork makes, where all that goes into it is known.

    Raises:
        OutageError: Not all of it is.
        SessionNotFoundError: There is no such session, or no such message in it.
        SessionExistsError: The new session is known to be there.
        SessionAccessError: One of the two is another user's.
    """
    source = _source(parts, fork)
    place = len(source.bodies) if fork.at is None else source.place(fork.at) + 1
    create = _create(fork, source, place)
    view = parts.cache.view(str(fork.new_session_id), fork.user_id)
    if view.find(str(fork.new_session_id), fork.user_id):
        raise SessionExistsError(f"session {fork.new_session_id!r} is already there")
    made: SessionData = yield from journaled(parts, create)
    fields = set(SessionInfo.__struct_fields__) - {"messages"}
    return SessionInfo(**{name: getattr(made, name) for name in fields})


def _source(parts: Parts, fork: Fork) -> KnownSession:
    """Give a copy of what is known of a session, where that is all."""
    view = parts.cache.view(fork.session_id, fork.user_id)
    with view.lock:
        try:
            session = view.find(fork.session_id, fork.user_id)
        except StoreUnavailableError as error:
            raise OutageError(str(error)) from None
        if session is None and parts.knows(view, fork.session_id):
            raise SessionNotFoundError(f"there is no session {fork.session_id!r}")
        if session is None or not session.is_whole:
            raise OutageError(_UNKNOWN)
        if session.user_id is None and fork.user_id is not None:
            raise OutageError(_OPEN)  # nobody would check them when it is replayed
        if fork.at is not None and fork.at not in session.positions:
            raise SessionNotFoundError(f"the session has no message {fork.at!r}")
        return session.copy()


def _create(fork: Fork, source: KnownSession, count: int) -> Create:
    messages = decode_messages(source.id, source.bodies[:count])
    last = messages[-1].id if messages else None
    metadata = fork.new_metadata(decode_metadata(source.metadata), last)
    return Create(fork.new_session_id, messages, source.agent_id, source.user_id, metadata)
