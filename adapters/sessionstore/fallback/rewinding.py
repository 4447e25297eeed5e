"""A rewind in a fallback: what is learned of it, and which deletion it is in an outage.

In an outage only those messages can be deleted that are known; and what others put behind them
meanwhile is to stay when the primary is back. So it is journaled as the deletion of just those.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import filterfalse
from typing import Any

from sessionstore.errors import OutageError, SessionNotFoundError
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.cached import WRITES, changed
from sessionstore.fallback.done import Gone
from sessionstore.fallback.entries import Write, encoded_messages
from sessionstore.fallback.known import KnownSession
from sessionstore.fallback.learning import learn_write
from sessionstore.operations import DeleteMessages, Operation, Rewind, SessionWrite, Several

__all__ = ["gone", "learn_rewind", "without_rewinds"]


def learn_rewind(cache: SessionCache, write: Rewind, deleted: list[str], stamp: int) -> None:
    """Take note of the messages that the primary has deleted.

    Args:
        cache: What is known.
        write: What the primary was asked for.
        deleted: The ids that it gave.
        stamp: As for `learn_write`.
    """
    learn_write(cache, gone(cache, write, deleted, stamp), None, stamp)


def gone(cache: SessionCache, write: Rewind, deleted: list[str], stamp: int) -> Gone:
    """Give a rewind as what it has come to: those messages are gone.

    So is what else was known behind it, which others had deleted before; but not what was learned,
    or journaled, since the primary was asked.
    """
    session_id, to = write.session_id, write.to
    with cache.lock:
        session = cache.look_up(session_id)
        if (
            session is not None
            and session.state == stamp
            and not cache.is_pinned(session_id)
            and (to is None or to in session.positions)
        ):
            before = list(filterfalse(set(deleted).__contains__, session.behind(to)))
            session.current, deleted = session.current and not before, [*deleted, *before]
    return Gone(session_id, deleted, emptied=to is None)


def without_rewinds(view: SessionCache, write: Write, *, known: bool) -> Write:
    """Give a write with each rewind in it as the deletion that it comes to.

    Args:
        view: What the caller may know.
        write: The operation.
        known: Whether the session was seen.

    Raises:
        OutageError: There may be messages behind the one, or before it, that are not known.
        SessionNotFoundError: There is no such session, or no such message in it.
    """
    parts = write.operations if isinstance(write, Several) else [write]
    if not any(type(part) is Rewind for part in parts):
        return write
    with view.lock:
        session = view.find(str(write.session_id), write.user_id)
        if session is None and not known:
            raise _unknown()
        if isinstance(write, Several):
            return Several(_deletions(session and session.copy(), parts))
        return _deletion(session, write)  # type: ignore[arg-type]


def _deletions(draft: KnownSession | None, parts: Sequence[Operation[Any]]) -> list[Any]:
    """Carry operations out on a copy of a session, in which each finds what those before it did."""
    done: list[Any] = []
    for part in parts:
        plain = _deletion(draft, part) if isinstance(part, Rewind) else part
        done.append(plain)
        if isinstance(plain, SessionWrite):
            sure = draft is None or draft.is_sure
            change = WRITES[type(plain)](draft, plain, encoded_messages(plain))
            draft = changed(change) if change.session is not None else draft
            if draft is not None and sure:
                draft.sure = len(draft.bodies)
    return done


def _deletion(session: KnownSession | None, write: Rewind) -> DeleteMessages:
    to = write.to
    if session is None:
        return DeleteMessages(write.session_id, write.without_session(), write.user_id)
    if not session.knows_behind(to):
        raise _unknown()
    if to is not None and to not in session.positions:
        raise SessionNotFoundError(f"the session has no message {to!r}")
    return DeleteMessages(write.session_id, session.behind(to), write.user_id)


def _unknown() -> OutageError:
    return OutageError(
        "which messages are behind this one is not known until the store is back: "
        "delete those that you know of by their ids"
    )
