"""Sessions of a file, or of anything that gives some, put into a store."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from typing import BinaryIO

from sessionstore.errors import InvalidSessionError
from sessionstore.models import SessionData
from sessionstore.store import SessionStore
from sessionstore.transfer.filed import SessionFile
from sessionstore.transfer.files import FileLike, LineReader
from sessionstore.transfer.listing import Wanted, wanted
from sessionstore.transfer.moving import Mover, Tally
from sessionstore.transfer.readers.unreadable import Unreadable
from sessionstore.transfer.reports import OnProgress, TransferReport
from sessionstore.transfer.requests import TransferFlow, arun_transfer, call, run_transfer
from sessionstore.transfer.sources import ComingSession, GivenSession

__all__ = ["aimport_from", "aimport_sessions", "import_from", "import_sessions"]

LONGEST_LINE = 2**28
"""Bytes of a line of a file, by default: a message may be as large."""


def import_sessions(
    file: str | os.PathLike[str] | BinaryIO,
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    longest_line: int = LONGEST_LINE,
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
        longest_line: How many bytes a line may have, 1 or more; by default 256 MiB. A file can take
            a few times as much memory.
        progress: Called as it goes on.

    Returns:
        What became of the sessions. ``failed`` names the lines that can't be read.

    Raises:
        TransferFileError: It is not such a file, or it ends too early; what came before is in the
            store.
        StoreUnavailableError: The store can't be reached.
        OSError: The file can't be read.
    """
    mover = Mover(store, verify=verify, tally=Tally(progress), tries=1)  # nothing is read twice
    return run_transfer(_import(file, mover, wanted(user_id, agent_id), longest_line))


async def aimport_sessions(
    file: str | os.PathLike[str] | BinaryIO,
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    longest_line: int = LONGEST_LINE,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `import_sessions`; the file is read in a thread."""
    mover = Mover(store, verify=verify, tally=Tally(progress), tries=1)  # nothing is read twice
    return await arun_transfer(_import(file, mover, wanted(user_id, agent_id), longest_line))


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
    mover = Mover(store, verify=verify, tally=Tally(progress))
    return run_transfer(_import_from(sessions, mover, wanted(user_id, agent_id)))


async def aimport_from(
    sessions: Iterable[SessionData | Unreadable],
    store: SessionStore,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    verify: bool = False,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `import_from`; all sessions are asked for in one thread."""
    mover = Mover(store, verify=verify, tally=Tally(progress))
    return await arun_transfer(_import_from(sessions, mover, wanted(user_id, agent_id)))


def _import(
    file: FileLike, mover: Mover, chosen: Wanted, longest_line: int
) -> TransferFlow[TransferReport]:
    if type(longest_line) is not int or longest_line < 1:
        raise InvalidSessionError("longest_line must be a whole number of 1 or more: bytes")
    reader = yield from call(partial(LineReader, file, longest_line))
    mover.tally.place = lambda: (reader.position, reader.size)
    try:
        yield from SessionFile(reader, mover, chosen).move_all()
    finally:
        reader.close()
    return mover.tally.report()


def _import_from(
    sessions: Iterable[SessionData | Unreadable], mover: Mover, chosen: Wanted
) -> TransferFlow[TransferReport]:
    coming = iter(sessions)
    try:
        while (one := (yield from call(partial(_next_of, coming)))) is not None:
            if isinstance(one, Unreadable):
                mover.tally.unreadable(one.where, one.why)
            elif chosen.includes(one):
                yield from mover.move(one.id, partial(_given, one))
    except Exception:
        yield from call(partial(_close, coming))  # in its own thread
        raise
    return mover.tally.report()


def _next_of(coming: Iterator[SessionData | Unreadable]) -> SessionData | Unreadable | None:
    one = next(coming, None)
    if one is None or isinstance(one, (SessionData, Unreadable)):
        return one
    raise TypeError(f"sessions must be SessionData or Unreadable, not {type(one).__name__}")


def _given(session: SessionData) -> TransferFlow[ComingSession | None]:
    yield from ()
    return GivenSession(session)


def _close(coming: Iterator[SessionData | Unreadable]) -> None:
    if isinstance(coming, Generator):
        coming.close()
