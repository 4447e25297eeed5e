"""What an erasure and an export of a user's data tell, to be kept as a proof."""

from __future__ import annotations

from datetime import datetime

import msgspec

from sessionstore.operations import Trace
from sessionstore.transfer.reports import TransferReport

__all__ = ["ErasureReceipt", "ExportReceipt"]


class ErasureReceipt(msgspec.Struct, frozen=True):
    """What was erased of a user, where, and what could not be.

    It names the user, the stores and numbers: no session, and nothing that anybody said. ``str``
    shows it to people, `json` is for the files.

    Attributes:
        user_id: Whose data it was.
        complete: Whether nothing is left that this package could have erased. If not so, the
            traces say why, and what to do.
        sessions: How many sessions were erased.
        messages: How many messages they held.
        threads: How many threads of the checkpointer were erased.
        store: The store, as its ``repr`` names it.
        checkpointer: The class of the checkpointer; empty where none was given.
        begun_at: When it began.
        ended_at: When it ended.
        traces: What was found in each place: what was erased, what is left and why, and what the
            place keeps by itself and until when.
    """

    user_id: str
    complete: bool
    sessions: int
    messages: int
    threads: int
    store: str
    checkpointer: str
    begun_at: datetime
    ended_at: datetime
    traces: list[Trace]

    @property
    def left(self) -> list[Trace]:
        """What could not be erased, with why."""
        return [trace for trace in self.traces if trace.left]

    @property
    def kept(self) -> list[Trace]:
        """What the places keep by themselves, and until when."""
        return [trace for trace in self.traces if trace.until]

    def json(self) -> str:
        """Give it as JSON, which ``msgspec.json.decode(text, type=ErasureReceipt)`` reads."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def __str__(self) -> str:
        """Show it to people."""
        state = "complete" if self.complete else "NOT complete: run it again, see below"
        threads = f", {_count(self.threads, 'thread')}" if self.checkpointer else ""
        what = f"{_count(self.sessions, 'session')} with {_count(self.messages, 'message')}"
        lines = [
            f"Erasure of user {self.user_id!r}: {state}",
            f"  erased: {what}{threads}",
            f"  begun {self.begun_at:%Y-%m-%d %H:%M:%S} UTC, ended {self.ended_at:%H:%M:%S}",
        ]
        found = [t for t in self.traces if not (t.left or t.until)]
        lines += [f"  erased: {t.where}: {t.erased} {t.what}" for t in found]
        lines += [f"  LEFT: {t.where}: {t.what} ({t.left}): {t.why}" for t in self.left]
        lines += [f"  kept: {t.where}: {t.what}, until {t.until}" for t in self.kept]
        return "\n".join(lines)


class ExportReceipt(msgspec.Struct, frozen=True):
    """What was exported of a user.

    Attributes:
        user_id: Whose data it is.
        complete: Whether all of it is in the files.
        report: What became of the sessions.
        threads: How many threads of the checkpointer were written.
        thread_messages: How many messages they held.
        store: The store, as its ``repr`` names it.
        checkpointer: The class of the checkpointer; empty where none was given.
        begun_at: When it began.
        ended_at: When it ended.
        traces: What could not be written, and why.
    """

    user_id: str
    complete: bool
    report: TransferReport
    threads: int
    thread_messages: int
    store: str
    checkpointer: str
    begun_at: datetime
    ended_at: datetime
    traces: list[Trace]

    def json(self) -> str:
        """Give it as JSON, which ``msgspec.json.decode(text, type=ExportReceipt)`` reads."""
        return msgspec.json.format(msgspec.json.encode(self)).decode()

    def __str__(self) -> str:
        """Show it to people."""
        state = "complete" if self.complete else "NOT complete, see below"
        report = self.report
        what = f"{_count(report.copied, 'session')} with {_count(report.messages, 'message')}"
        if self.checkpointer:
            messages = _count(self.thread_messages, "message")
            what += f", {_count(self.threads, 'thread')} with {messages}"
        lines = [
            f"Export of user {self.user_id!r}: {state}",
            f"  written: {what}",
            f"  begun {self.begun_at:%Y-%m-%d %H:%M:%S} UTC, ended {self.ended_at:%H:%M:%S}",
        ]
        lines += [f"  LEFT: {left.session_id!r}: {left.why}" for left in report.failed]
        lines += [f"  LEFT: {t.where}: {t.what} ({t.left}): {t.why}" for t in self.traces if t.left]
        return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
