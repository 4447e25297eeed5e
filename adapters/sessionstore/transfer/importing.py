"""Sessions of a file, or of anything that gives some, put into a store."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, BinaryIO

from sessionstore.models import SessionData
from sessionstore.store import SessionStore
from sessionstore.transfer.reports import OnProgress, TransferReport

if TYPE_CHECKING:
    from sessionstore.transfer.readers.unreadable import Unreadable

__all__ = ["aimport_from", "aimport_sessions", "import_from", "import_sessions"]


def import_sessions(
    file: str | os.PathLike[str] | BinaryIO,
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Put the sessions of a file that `export_sessions` wrote into a store.

    Each is new there, with its times, owner, agent, metadata, and messages in order. One whose id
    is there already is left as it is. After a kill, or a failure, run it again.

    Args:
        file: The file's name, or what is open for reading bytes, which stays open. What is
            compressed by gzip is recognised.
        store: Where to.
        user_id: Only the sessions of this user.
        agent_id: Only those with this agent.
        verify: Read each message back, and compare; also those of sessions that were there.
        progress: Called as it goes on.

    Returns:
        What became of the sessions. ``failed`` names the lines that can't be read.

    Raises:
        TransferFileError: It is not such a file, or it ends too early; what came before is in the
            store.
        StoreUnavailableError: The store can't be reached.
        OSError: The file can't be read.
    """
    raise NotImplementedError


async def aimport_sessions(
    file: str | os.PathLike[str] | BinaryIO,
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `import_sessions`; the file is read in threads."""
    raise NotImplementedError


def import_from(
    sessions: Iterable[SessionData | Unreadable],
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Put sessions into a store, as a reader of another library's data gives them.

    As `import_sessions`; what a reader could not read is in ``failed``. Messages need ids that are
    the same each time, or what is imported once more is different.

    Args:
        sessions: The sessions; one is asked for at a time.
        store: Where to.
        user_id: As for `import_sessions`.
        agent_id: As for `import_sessions`.
        verify: As for `import_sessions`.
        progress: Called as it goes on.

    Returns:
        What became of the sessions.

    Raises:
        StoreUnavailableError: The store can't be reached.
    """
    raise NotImplementedError


async def aimport_from(
    sessions: Iterable[SessionData | Unreadable],
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `import_from`; the sessions are asked for in threads, one after the other."""
    raise NotImplementedError
