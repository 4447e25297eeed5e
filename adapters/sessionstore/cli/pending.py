"""``sessionstore pending`` and ``recover``: what an outage left in a fallback's file."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, TypeAlias

import typer

from sessionstore.cli.ending import Ending, Status
from sessionstore.cli.options import Json, Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import counted, progress, say, say_json, tell
from sessionstore.cli.places import fallback_url, open_at, open_given
from sessionstore.cli.text import in_a_line
from sessionstore.cli.times import shown
from sessionstore.fallback import FallbackSessionStore, PendingWrite
from sessionstore.fallback.left import LeftWrite, left_writes, rejected_writes
from sessionstore.store import SessionStore

__all__ = ["open_fallback", "pending", "recover"]

Fallback: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="FILE", help="The fallback's SQLite file, or the URL of the store that it is in."
    ),
]
_MOST = 1_000_000  # writes, which were all taken once


def open_fallback(place: str, timeout: float | None = None) -> SessionStore:
    """Open the store that a fallback keeps its journals in.

    Args:
        place: A file, a URL, or ``@FILE``.
        timeout: What ``--timeout`` was given.
    """
    return open_at(fallback_url(place), timeout)


def pending(
    *,
    fallback: Fallback,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """List what waits in a fallback's file.

    Those writes that the store refused are listed, too.
    """
    with open_fallback(fallback, timeout) as opened:
        waiting, rejected = left_writes(opened), rejected_writes(opened)
    if as_document:
        say_json(
            {
                "pending": [
                    {**_fields(left.write), "since": left.since, "owned": left.is_owned}
                    for left in waiting
                ],
                "rejected": [_fields(write) for write in rejected],
            }
        )
        return
    _say_waiting(waiting)
    _say_rejected(rejected)
    if not waiting and not rejected:
        tell("nothing waits")


def recover(
    *,
    fallback: Fallback,
    store: Store = None,
    store_file: StoreFile = None,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Replay what waits in a fallback's file.

    Each write goes to the store once, in order, as the application would have done it.

    What processes that still run have journaled is theirs, and is left to them.
    """
    primary = open_given(store, store_file, timeout)
    with primary:
        primary.ping()
        journals = open_fallback(fallback, timeout)
        with FallbackSessionStore(primary, fallback=journals, max_pending=_MOST) as opened:
            waited = opened.stats().pending
            with progress("Replaying", "writes") as advance:
                advance(0, waited or None, f"{waited:,} writes")
                opened.recover()
                left = opened.stats().pending
                advance(waited - left, waited or None, "")
            replayed, rejected = opened.stats().replayed, opened.rejected()
    with open_fallback(fallback, timeout) as journals:
        _report(replayed, rejected, left_writes(journals))


def _report(replayed: int, rejected: list[PendingWrite], left: list[LeftWrite]) -> None:
    say(f"replayed {counted(replayed, 'write')}")
    _say_rejected(rejected)
    owned = sum(one.is_owned for one in left)
    if owned:
        tell(f"{counted(owned, 'write')} belong to processes that still run, which replay them")
    if len(left) > owned:
        what = counted(len(left) - owned, "write")
        raise Ending(Status.INCOMPLETE, f"{what} still wait: run it again, and see pending")
    if rejected:
        what = counted(len(rejected), "write")
        raise Ending(Status.INCOMPLETE, f"refused: {what}, kept in the fallback")


def _fields(write: PendingWrite) -> dict[str, object]:
    return {
        "id": write.id,
        "session_id": write.session_id,
        "operation": _kind(write),
        "reason": write.reason,
    }


def _kind(write: PendingWrite) -> str:
    return "unreadable" if write.operation is None else type(write.operation).__name__


def _say_waiting(waiting: list[LeftWrite]) -> None:
    """Write one line for each session: what waits, in order, and whose it is."""
    by_session: dict[tuple[str, bool], list[LeftWrite]] = {}
    for left in waiting:
        by_session.setdefault((left.write.session_id, left.is_owned), []).append(left)
    for (session_id, is_owned), writes in by_session.items():
        kinds = Counter(_kind(left.write) for left in writes)
        what = ", ".join(f"{number} {kind}" for kind, number in kinds.items())
        whose = "  (a process that still runs replays it)" if is_owned else ""
        say(f"{shown(writes[0].since)}  {in_a_line(session_id)}  {what}{whose}")


def _say_rejected(rejected: list[PendingWrite]) -> None:
    for write in rejected:
        name = in_a_line(write.session_id)
        say(f"refused  {name}  {_kind(write)}  {in_a_line(write.reason)}", "yellow")
