"""``sessionstore ls``: which sessions there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import typer
from msgspec.structs import replace

from sessionstore.cli.ending import UsageError
from sessionstore.cli.keys import KeyFile, marked, with_keys
from sessionstore.cli.options import Agent, Json, Store, StoreFile, Timeout, User, Yes
from sessionstore.cli.output import say, say_raw, tell
from sessionstore.cli.places import open_given
from sessionstore.cli.text import as_json, in_a_line
from sessionstore.cli.times import moment, shown
from sessionstore.errors import InvalidSessionError
from sessionstore.models import SessionInfo, SessionPage
from sessionstore.notebook.parts import block_of
from sessionstore.store import SessionStore

__all__ = ["ls"]

_PAGE = 200
_WIDEST, _PREVIEW = 24, 100
_HEADS = ("UPDATED (UTC)", "MESSAGES", "AGENT", "USER", "ID", "TITLE")


def ls(
    *,
    store: Store = None,
    store_file: StoreFile = None,
    keys: KeyFile = None,
    user: User = None,
    agent: Agent = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Written to after it: 2h, 7d, 2026-11-29.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Written to before it.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    cursor: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Where the list before this one ended.")
    ] = None,
    last: Annotated[
        int, typer.Option(min=0, max=100, help="Show so many of each one's last messages.")
    ] = 0,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """List sessions, the newest activity first."""
    wanted = {
        "user_id": user,
        "agent_id": agent,
        "updated_after": moment(since, "--since"),
        "updated_before": moment(until, "--until"),
        "last": last,
    }
    most = None if everything else limit
    with open_given(store, store_file, timeout) as opened:
        source = with_keys(opened, keys)
        if as_document:
            _document(_pages(source, wanted, cursor, most))
        elif source is opened:
            _table(_pages(source, wanted, cursor, most), last)
        else:
            wanted["last"] = max(last, 1)  # what can't be opened is listed without any
            _table(map(_told_apart, _pages(source, wanted, cursor, most)), last)


def _pages(
    store: SessionStore, wanted: dict[str, Any], cursor: str | None, left: int | None
) -> Iterator[SessionPage]:
    while left is None or left > 0:
        limit = _PAGE if left is None else min(left, _PAGE)
        page = _page(store, wanted, limit, cursor)
        yield page
        cursor = page.cursor
        if cursor is None:
            return
        left = None if left is None else left - len(page.sessions)


def _page(
    store: SessionStore, wanted: dict[str, Any], limit: int, cursor: str | None
) -> SessionPage:
    try:
        return store.list_sessions(**wanted, limit=limit, cursor=cursor)
    except InvalidSessionError as error:
        if cursor is None or not str(error).startswith("cursor"):
            raise
        raise UsageError("--cursor is invalid: take it from the list before") from None


def _told_apart(page: SessionPage) -> SessionPage:
    """Give a page whose sessions that no key opens say so, in the place of their titles."""
    closed = {"title": "[not opened by these keys]"}
    sessions = [
        session
        if session.messages or not session.message_count
        else replace(session, metadata=closed)
        for session in page.sessions
    ]
    return replace(page, sessions=sessions)


def _document(pages: Iterator[SessionPage]) -> None:
    """Write one document, page by page: there may be millions."""
    written, cursor = 0, None
    say_raw('{"sessions":[')
    for page in pages:
        cursor = page.cursor
        for session in page.sessions:
            say_raw("," * bool(written) + as_json(session))
            written += 1
    say_raw(f'],"cursor":{as_json(cursor)}}}\n')


def _table(pages: Iterable[SessionPage], last: int) -> None:
    cursor, count = None, 0
    for page in pages:
        sessions: list[SessionInfo] = list(map(marked, page.sessions))
        rows = [_row(session) for session in sessions]
        widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
        if not count and rows:
            say(_line(_HEADS, widths), "bold")
        for row, session in zip(rows, sessions, strict=True):
            say(_line(row, widths))
            for message in session.messages[-last:] if last else []:
                say(f"    {in_a_line(message.role)}: {_preview(message.content)}", "dim")
        cursor, count = page.cursor, count + len(rows)
    if not count:
        tell("no sessions")
    elif cursor:
        tell(f"there are more: --all lists all, --cursor {cursor} goes on from here")


def _row(session: SessionInfo) -> tuple[str, ...]:
    return (
        shown(session.updated_at),
        f"{session.message_count:>8}",
        _short(session.agent_id),
        "-" if session.user_id is None else _short(session.user_id),
        in_a_line(session.id),  # whole, to be copied
        in_a_line(session.metadata.get("title") or ""),
    )


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _short(name: str) -> str:
    text = in_a_line(name)
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _preview(content: str | list[dict[str, Any]]) -> str:
    blocks = [block_of(block) for block in (content if isinstance(content, list) else [content])]
    said = " ".join(f"[{name}]" if text is None else text for _, text, name in blocks)
    line = in_a_line(" ".join(said[: 4 * _PREVIEW].split()))
    return line if len(line) <= _PREVIEW else f"{line[: _PREVIEW - 1]}…"
