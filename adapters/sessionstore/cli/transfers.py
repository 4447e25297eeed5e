"""What export, import and copy share: how far they are, and what became of the sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sessionstore.cli.ending import Ending, Status
from sessionstore.cli.output import counted, progress, say, say_json, tell

if TYPE_CHECKING:
    from collections.abc import Callable

    from sessionstore.transfer import LeftSession, OnProgress, TransferProgress, TransferReport

__all__ = ["report", "transferring"]


@contextmanager
def transferring(what: str, *, hidden: bool = False) -> Iterator[OnProgress | None]:
    """Show how far a transfer is, where the error output is a terminal.

    Args:
        what: What is done.
        hidden: Show nothing all the same.

    Yields:
        What a transfer is given as its ``progress``.
    """
    with progress(what, hidden=hidden) as advance:

        def shown(now: TransferProgress) -> None:
            where = f"{counted(now.sessions, 'session')}, {counted(now.messages, 'message')}"
            done, total = (now.read, now.size) if now.size else (now.sessions, None)
            advance(done, total, where)

        yield shown


def report(
    done: TransferReport, verb: str, *, as_document: bool = False, on: Callable[[str], None] = say
) -> None:
    """Say what became of the sessions.

    Args:
        done: What a transfer returned.
        verb: What was done with them: "copied".
        as_document: Write one JSON document.
        on: Where the summary goes.

    Raises:
        Ending: Some are left.
    """
    if as_document:
        say_json(done)
    else:
        on(", ".join(_summary(done, verb)))
        for left in done.different:
            tell(f"left as it is: {_named(left)}")
        for left in done.failed:
            tell(f"left out: {_named(left)}")
    if not done.complete:
        count = len(done.different) + len(done.failed)
        where = "as the document says" if as_document else "as said above"
        raise Ending(Status.INCOMPLETE, f"{count:,} left, {where}")


def _summary(done: TransferReport, verb: str) -> Iterator[str]:
    yield f"{verb} {counted(done.copied, 'session')} with {counted(done.messages, 'message')}"
    if done.equal:
        yield f"{done.equal:,} were there already, and the same"
    if done.expired:
        yield f"{done.expired:,} are older than the store keeps any"
    if done.verified:
        yield f"{done.verified:,} verified, message by message"


def _named(left: LeftSession) -> str:
    name = "" if left.session_id is None else f"session {left.session_id!r}"
    return ": ".join(part for part in (left.where, name, left.why) if part)
