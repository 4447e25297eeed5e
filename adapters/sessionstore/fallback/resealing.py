"""Messages are sealed anew in a fallback: what it knows of them is, too; and never in an outage."""

from __future__ import annotations

from sessionstore.errors import OutageError
from sessionstore.fallback.cache import SessionCache
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.operations import Reseal

__all__ = ["learn_reseal", "refuse_reseal"]


def learn_reseal(cache: SessionCache, asked: Reseal, count: int, _: int) -> None:
    """Swap what is known, too: no message that is the old one stays.

    Where the primary has left some alone, which these are only the next read tells.
    """
    swaps = asked.swaps()
    with cache.lock:
        session = cache.look_up(asked.session_id)
        if session is None:
            return
        if session.system_id in swaps.messages:
            for _system, body in swaps.of_messages([(session.system_id, session.system)]):
                session.put_system(body)
        what, known = session.swapped(swaps)
        if known:
            cache.change(session, session.put_all, what, versions=0, moves=False)
        if count < len(asked.old) + len(asked.old_metadata):
            session.current = False


def refuse_reseal(_: Parts, _asked: Reseal) -> FallbackFlow[int]:
    """Refuse to swap messages: what is there to be swapped, only the primary can tell."""
    yield from ()
    raise OutageError("messages can't be sealed anew until the store is back")
