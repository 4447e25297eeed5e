"""Sessions of a store, copied to another one."""

from __future__ import annotations

from sessionstore.store import SessionStore
from sessionstore.transfer.reports import OnProgress, TransferReport

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
        StoreUnavailableError: One of the stores can't be reached.
    """
    raise NotImplementedError


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
    raise NotImplementedError
