"""Handing a user's data over: their sessions, and the messages of a checkpointer's threads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from functools import partial
from typing import Any, BinaryIO

import msgspec

from sessionstore.arguments import checked_id
from sessionstore.flow import aplay, play
from sessionstore.operations import ListSessions, Trace
from sessionstore.store import SessionStore
from sessionstore.transfer.exporting import aexport_sessions, export_sessions
from sessionstore.transfer.files import FileLike, OutputFile
from sessionstore.transfer.receipts import ExportReceipt
from sessionstore.transfer.reports import OnProgress, TransferReport
from sessionstore.transfer.requests import Call, ask
from sessionstore.transfer.threads import UserThreads, checked_checkpointer
from sessionstore.transfer.twins import Method, TwinFlow, asend, send
from sessionstore.wrapper import unwrapped

__all__ = ["aexport_user", "export_user"]

_PAGE = 100
_WAITS = "it does without its primary, or writes wait for it: export again when it is back"
_REFUSED = "its primary refused them, so that they are in no session: see rejected()"


def export_user(
    store: SessionStore,
    user_id: str,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    checkpointer: Any = None,
    threads_file: str | os.PathLike[str] | BinaryIO | None = None,
    progress: OnProgress | None = None,
) -> ExportReceipt:
    """Write all of a user's sessions to a file, and the messages of their threads to another.

    The sessions are as `export_sessions` writes them. Of each thread of the checkpointer, those
    that `erase_user` would erase, a line of JSON has the ``thread_id``, the ``checkpoint_id``, the
    ``messages`` of its latest checkpoint, and the names of the channels that hold something else.

    Args:
        store: The store, with the fallback and the wrappers that the application uses.
        user_id: Whose data.
        file: The name of the file of sessions, or what is open for writing bytes.
        checkpointer: A LangGraph checkpointer, as for `erase_user`.
        threads_file: The name of the file of its threads, or what is open for writing bytes.
        progress: Called as the sessions are written.

    Returns:
        The receipt; not ``complete`` where something is not in the files.

    Raises:
        StoreUnavailableError: The store can't be reached, or does without its primary, so that it
            can't list all. Try again later; no file is left.
        InvalidSessionError: ``user_id`` is not valid.
        OSError: A file can't be written.
        TypeError: ``store`` is not a store, or of ``checkpointer`` and ``threads_file`` only one
            is given.
    """
    export = _Export(store, user_id, checkpointer, threads_file)
    play(export.begun(), send)
    report = export_sessions(store, file, user_id=user_id, progress=progress)
    play(export.threads_written(), send)
    return export.receipt(report)


async def aexport_user(
    store: SessionStore,
    user_id: str,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    checkpointer: Any = None,
    threads_file: str | os.PathLike[str] | BinaryIO | None = None,
    progress: OnProgress | None = None,
) -> ExportReceipt:
    """Async twin of `export_user`; files are written in threads."""
    export = _Export(store, user_id, checkpointer, threads_file)
    await aplay(export.begun(), asend)
    report = await aexport_sessions(store, file, user_id=user_id, progress=progress)
    await aplay(export.threads_written(), asend)
    return export.receipt(report)


class _Export:
    """One export, beside the sessions themselves."""

    def __init__(
        self, store: SessionStore, user_id: str, checkpointer: Any, threads_file: FileLike | None
    ) -> None:
        if not isinstance(store, SessionStore):
            kind = type(store).__name__
            raise TypeError(f"store must be a store, such as open_store(url) gives, not {kind}")
        if (checkpointer is None) != (threads_file is None):
            raise TypeError("checkpointer and threads_file go together: give both, or neither")
        self._store = store
        self._user_id = checked_id(user_id, "user_id")
        self._checkpointer = checked_checkpointer(checkpointer)
        self._file = threads_file
        self._threads = UserThreads(checkpointer, self._user_id)
        self._begun_at = datetime.now(timezone.utc)
        self._traces: list[Trace] = []
        self._count = self._messages = 0

    def begun(self) -> TwinFlow[None]:
        """Have replayed what waits, and tell what is not in the sessions."""
        for each in (self._store, self._checkpointer):
            if hasattr(each, "recover") and not (yield Method(each, "recover")):
                self._traces.append(Trace(_named(each), "what it holds", left=1, why=_WAITS))
        refused = len(list(self._refused()))
        if refused:
            where, what = _named(self._store), "rejected writes"
            self._traces.append(Trace(where, what, left=refused, why=_REFUSED))

    def _refused(self) -> Iterator[Any]:
        for write in getattr(unwrapped(self._store), "rejected", list)():
            if getattr(write.operation, "user_id", None) == self._user_id:
                yield write

    def threads_written(self) -> TwinFlow[None]:
        """Write a line for each thread."""
        if self._file is None:
            return
        out: OutputFile = yield Call(partial(OutputFile, self._file))
        try:
            for thread_id in (yield from self._found()):
                yield from self._write(thread_id, out)
            yield Call(out.finish)
        finally:
            out.give_up()

    def _found(self) -> TwinFlow[list[str]]:
        threads = dict.fromkeys((yield from self._threads.found()))
        cursor = None
        while True:
            asked = ListSessions(user_id=self._user_id, limit=_PAGE, cursor=cursor)
            page = yield from ask(self._store, asked)
            for info in page.sessions:
                if (yield from self._threads.is_named(info.id)):
                    threads[info.id] = None
            cursor = page.cursor
            if cursor is None:
                return list(threads)

    def _write(self, thread_id: str, out: OutputFile) -> TwinFlow[None]:
        config = {"configurable": {"thread_id": thread_id, "checkpoint_ns": ""}}
        with self._threads.noting():
            found = yield Method(self._checkpointer, "get_tuple", (config,))
            if found is not None:
                line, count = _line(thread_id, found.checkpoint)
                yield Call(partial(out.write, line))
                self._count += 1
                self._messages += count

    def receipt(self, report: TransferReport) -> ExportReceipt:
        """Tell what was written."""
        self._threads.tell_others()
        traces = [*self._traces, *self._threads.traces]
        return ExportReceipt(
            user_id=self._user_id,
            complete=report.complete and not traces,
            report=report,
            threads=self._count,
            thread_messages=self._messages,
            store=repr(self._store),
            checkpointer=self._threads.name,
            begun_at=self._begun_at,
            ended_at=datetime.now(timezone.utc),
            traces=traces,
        )


def _named(of: object) -> str:
    return repr(of) if isinstance(of, SessionStore) else type(of).__name__


def _line(thread_id: str, checkpoint: Any) -> tuple[bytes, int]:
    channels = dict(checkpoint.get("channel_values") or {})
    messages = channels.pop("messages", [])
    line = {
        "thread_id": thread_id,
        "checkpoint_id": checkpoint["id"],
        "messages": messages,
        "other_channels": sorted(name for name in channels if not name.startswith("__")),
    }
    return msgspec.json.encode(line, enc_hook=_plain) + b"\n", len(messages)


def _plain(value: Any) -> Any:
    """Give a message of LangChain's, or of whoever's that is a model of pydantic's, as JSON."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise NotImplementedError(f"{type(value).__name__} is no JSON")
