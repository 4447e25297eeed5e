"""Sessions of a store, written to a file."""

from __future__ import annotations

import os
from typing import BinaryIO

from sessionstore.store import SessionStore
from sessionstore.transfer.reports import OnProgress, TransferReport

__all__ = ["aexport_sessions", "export_sessions"]


def export_sessions(
    store: SessionStore,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Write sessions to a file: JSON, a session a line, the newest activity first.

    A file of a name appears when it is whole: until then it is written beside it, with ``.part``
    at its end. After a kill, run it again. One whose name ends in ``.gz`` is compressed. The lines
    of a session with many messages follow one another.

    Args:
        store: Where from.
        file: The file's name, or what is open for writing bytes, which stays open.
        user_id: Only the sessions of this user.
        agent_id: Only those with this agent.
        progress: Called as it goes on.

    Returns:
        What became of the sessions. ``failed`` has those that can't be read, which are not in the
        file.

    Raises:
        StoreUnavailableError: The store can't be reached.
        OSError: The file can't be written.
    """
    raise NotImplementedError


async def aexport_sessions(
    store: SessionStore,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `export_sessions`; the file is written in threads."""
    raise NotImplementedError
