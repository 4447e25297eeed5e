"""Sessions of a store, written to a file."""

from __future__ import annotations

import os
import shutil
import tempfile
from functools import partial
from typing import IO, BinaryIO

from sessionstore.errors import SessionStoreError
from sessionstore.store import SessionStore
from sessionstore.transfer.carrying import Verdict
from sessionstore.transfer.files import FileLike, OutputFile
from sessionstore.transfer.jsonl import end_line, first_line, more_line, session_line
from sessionstore.transfer.listing import Listing, wanted
from sessionstore.transfer.moving import TRIES, Tally, ends_all
from sessionstore.transfer.reports import OnProgress, TransferReport
from sessionstore.transfer.requests import TransferFlow, arun_transfer, call, run_transfer
from sessionstore.transfer.sources import ChangedError, StoredSession, session_in

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
    of a session with many messages follow one another. A device or a pipe is written to as it is.

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
        OSError: The file can't be written; a `FileExistsError` where another export has begun to
            write it since.
    """
    listing, tally = Listing(store, wanted(user_id, agent_id)), Tally(progress)
    return run_transfer(_export(store, file, listing, tally))


async def aexport_sessions(
    store: SessionStore,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    progress: OnProgress | None = None,
) -> TransferReport:
    """Async twin of `export_sessions`; the file is written in a thread."""
    listing, tally = Listing(store, wanted(user_id, agent_id)), Tally(progress)
    return await arun_transfer(_export(store, file, listing, tally))


_IN_MEMORY = 2**23  # bytes of a session; more are put on the disk, until it is whole


def _export(
    store: SessionStore, file: FileLike, listing: Listing, tally: Tally
) -> TransferFlow[TransferReport]:
    out = yield from call(partial(OutputFile, file))
    try:
        yield from call(partial(out.write, first_line()))
        while (session_id := (yield from listing.next())) is not None:
            tally.session_id = session_id
            yield from _export_session(store, session_id, out, tally)
        report = tally.report()
        yield from call(partial(out.write, end_line(report.copied)))
        yield from call(out.finish)
        return report
    finally:
        out.give_up()


def _export_session(
    store: SessionStore, session_id: str, out: OutputFile, tally: Tally
) -> TransferFlow[None]:
    """Write a session, or list it."""
    error: SessionStoreError | None = None
    for _ in range(TRIES):
        try:
            count = yield from _write_whole(store, session_id, out)
        except ChangedError as changed:
            error = changed
            continue
        except SessionStoreError as failed:
            if ends_all(failed):
                raise
            error = failed
            break
        if count is not None:
            tally.wrote(count)
            tally.done(Verdict.COPIED)
        return
    if error is not None:
        tally.left(session_id, "", error)


def _write_whole(store: SessionStore, session_id: str, out: OutputFile) -> TransferFlow[int | None]:
    """Write a session, once all of it is read; give how many messages, ``None`` if it is gone."""
    session = yield from session_in(store, session_id)
    if session is None:
        return None
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as spool:
        count = yield from _spool(session, spool)
        yield from call(partial(_copy_to, spool, out))
    return count


def _spool(session: StoredSession, spool: IO[bytes]) -> TransferFlow[int]:
    head, page = session.head, (yield from session.next_page())
    yield from call(partial(spool.write, session_line(head, page)))
    count = len(page)
    while page := (yield from session.next_page()):
        yield from call(partial(spool.write, more_line(head.id, count, page)))
        count += len(page)
    yield from session.require_settled()
    return count


def _copy_to(spool: IO[bytes], out: OutputFile) -> None:
    spool.seek(0)
    shutil.copyfileobj(spool, out)
