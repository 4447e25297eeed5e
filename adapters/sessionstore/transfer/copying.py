"""Sessions of a store, copied to another one."""

from __future__ import annotations

from functools import partial

from sessionstore.store import SessionStore
from sessionstore.transfer.listing import Listing, Wanted, wanted
from sessionstore.transfer.moving import Mover, Tally
from sessionstore.transfer.reports import OnProgress, TransferReport
from sessionstore.transfer.requests import TransferFlow, arun_transfer, run_transfer
from sessionstore.transfer.sources import session_in

__all__ = ["acopy_sessions", "copy_sessions"]


def copy_sessions(
    source: SessionStore,
    target: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Copy sessions from one store to another.

    Each is new there, with its times, owner, agent, metadata, and messages in order; its versions
    begin anew. One whose id is there already is left as it is. After a kill, or a failure, run it
    again: each session is there once. Give stores without a fallback, which would take what its
    primary can't.

    Args:
        source: Where from.
        target: Where to.
        user_id: Only the sessions of this user.
        agent_id: Only those with this agent.
        verify: Read each message back, and compare; also those of sessions that were there.
        progress: Called as it goes on.

    Returns:
        What became of the sessions.

    Raises:
        StoreUnavailableError: One of the stores can't be reached, or ``source`` does without
            its primary. Run it again.
    """
    mover = Mover(target, verify=verify, tally=Tally(progress))
    return run_transfer(_copy(source, mover, wanted(user_id, agent_id)))


async def acopy_sessions(
    source: SessionStore,
    target: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `copy_sessions`."""
    mover = Mover(target, verify=verify, tally=Tally(progress))
    return await arun_transfer(_copy(source, mover, wanted(user_id, agent_id)))


def _copy(source: SessionStore, mover: Mover, chosen: Wanted) -> TransferFlow[TransferReport]:
    listing = Listing(source, chosen)
    while (session_id := (yield from listing.next())) is not None:
        yield from mover.move(session_id, partial(session_in, source, session_id))
    return mover.tally.report()
