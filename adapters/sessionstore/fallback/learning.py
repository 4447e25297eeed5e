"""What a `SessionCache` learns from the answers of the primary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from sessionstore.errors import SessionStoreError
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.done import Gone, Together
from sessionstore.fallback.entries import Write, encoded_messages, rewrites
from sessionstore.fallback.known import KnownSession
from sessionstore.models import (
    SessionData,
    SessionInfo,
    SessionMessage,
    encode_message,
    encode_metadata,
)
from sessionstore.operations import Append, Get, GetMessages, Restore, Update

__all__ = [
    "learn_append",
    "learn_messages",
    "learn_nothing",
    "learn_restore",
    "learn_session",
    "learn_update",
    "learn_write",
]


def learn_session(cache: SessionCache, read: Get, data: SessionData | None, stamp: int) -> None:
    """Take note of a session that the primary has given, whole or with its last messages.

    Args:
        cache: What is known.
        read: What the primary was asked for.
        data: What the primary gave.
        stamp: That of the session before the primary was asked: what was learned since may be
            newer.
    """
    session_id = read.session_id
    whole = data is not None and len(data.messages) == data.message_count
    data, system = (data, None) if data is None or whole else _without_system(read, data)
    with cache.lock:
        session = cache.look_up(session_id)
        most = cache.max_messages
        knows_system = system is None or (session and (session.system or not session.partial))
        agrees = session and data and knows_system and session.agrees_with(data, most, whole=whole)
        if session and data and agrees and not session.has_other_metadata(data):
            cache.use(session_id)
            return
        if cache.is_pinned(session_id):
            return  # what is known here is more than the primary has yet
        if cache.stamp(session_id) != stamp:
            if session is not None:
                session.current = False
        elif data is None:
            cache.drop(session_id)
        elif session and agrees:
            metadata = encode_metadata(data.metadata)
            cache.change(session, session.become, (metadata, None), versions=0, moves=False)
        else:
            if session is not None and session.is_resealed(data):
                cache.drop(session_id)  # with what is not read now, which is so no more, either
            _learn_data(cache, data, whole=whole, system=system)


def _without_system(read: Get, data: SessionData) -> tuple[SessionData, SessionMessage | None]:
    """Take off the system message that stands in front of the last messages."""
    if read.limit is None or len(data.messages) <= read.limit:
        return data, None
    return replace(data, messages=data.messages[1:]), data.messages[0]


def learn_messages(
    cache: SessionCache, read: GetMessages, messages: Sequence[SessionMessage], stamp: int
) -> None:
    """Take note of a session's last messages, and of the system message before those.

    They tell of its owner only who may read, and nothing of its version.

    Args:
        cache: What is known.
        read: What the primary was asked for.
        messages: What it gave.
        stamp: As in `learn_session`.
    """
    if not (read.limit and messages and read.before is None and read.after is None):
        return
    session_id, limit = read.session_id, read.limit
    system = messages[0] if len(messages) > limit else None
    last = messages if system is None else messages[1:]
    with cache.lock:
        if cache.is_pinned(session_id) or cache.stamp(session_id) != stamp:
            return
        known = cache.look_up(session_id)
        session = known or KnownSession(session_id, "default", read.user_id, b"{}")
        if not session.ends_with(last):
            if session.begins_in_another_form(last):  # then so is what is before it
                session = session.cut_to(len(last))
            session = session.learned(last, cache.max_messages, whole=len(messages) < limit)
        if system is not None:
            session.system = encode_message(system)
        if known is None:
            cache.restore(session)
        else:
            cache.swap(session)


def learn_write(cache: SessionCache, write: Write | Gone | Together, result: Any, _: int) -> None:
    """Take note of a write that the primary has done, and of what it answered."""
    session_id = str(write.about)
    if isinstance(result, SessionData):
        with cache.lock:
            if not cache.is_pinned(session_id):
                _learn_data(cache, result, whole=True)
    elif not (rewrites(write) and cache.is_pinned(session_id)):
        try:
            cache.run(write)
        except SessionStoreError:  # what was known is out of date, or nothing
            session = cache.look_up(session_id)
            if session is not None:
                session.current = False


def learn_restore(
    cache: SessionCache, write: Restore, info: SessionInfo | None, stamp: int
) -> None:
    """Take note of a session that the primary has restored, or of a part of it."""
    with cache.lock:
        if cache.is_pinned(write.session_id):
            return
        if info is None:  # it has expired
            if write.expected_version is None:
                cache.drop(write.session_id)
        elif write.expected_version is None:
            _learn_data(cache, replace(write.session, version=info.version), whole=True)
        else:
            learn_append(cache, write, 0, stamp)
            if (known := cache.look_up(write.session_id)) is not None:
                known.learn_head(info)


def learn_append(cache: SessionCache, write: Append | Restore, _added: int, _: int) -> None:
    """Take note of messages that the primary has now, if it did not have them before."""
    records = encoded_messages(write)
    with cache.lock:
        session = cache.look_up(write.session_id)
        if session is None:
            if cache.is_pinned(write.session_id):
                return  # it was deleted here meanwhile
            session = KnownSession(write.session_id, write.agent_id, write.user_id, b"{}")
        fresh = session.fresh(records, session.older)
        if fresh.bodies:
            sure = session.current and session.is_sure
            cache.change(session, session.grow, fresh)
            if sure:
                session.sure = len(session.bodies)
            cache.use(write.session_id)


def learn_update(cache: SessionCache, write: Update, info: SessionInfo, _: int) -> None:
    """Take note of a session's new messages, if it has others, and of all but those."""
    session_id, metadata = write.session_id, encode_metadata(info.metadata)
    records = None if write.messages is None else list(encoded_messages(write))
    with cache.lock:
        session = cache.look_up(session_id)
        if session is None or (records is not None and cache.is_pinned(session_id)):
            return
        if records is not None:
            cache.change(session, session.become_all, (metadata, records))
            session.current = True
        else:
            cache.change(session, session.become, (metadata, None), moves=False)
            session.current = session.current and session.version == info.version
        session.learn_head(info)
        cache.use(session_id)


def learn_nothing(*_: object) -> None:
    """Take note of nothing."""


def _learn_data(
    cache: SessionCache,
    data: SessionData,
    *,
    whole: bool,
    system: SessionMessage | None = None,
) -> None:
    known = cache.look_up(data.id)
    session = known or KnownSession(data.id, data.agent_id, data.user_id, b"{}")
    if whole or data.messages:
        session = session.learned(data.messages, cache.max_messages, whole=whole)
    else:
        session.current = False  # only its head was asked for
    session.learn_head(data)
    if system is not None:
        session.system = encode_message(system)
    if known is None:
        cache.restore(session)
    else:
        cache.swap(session)
