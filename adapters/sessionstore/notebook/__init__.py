"""What a notebook shows of sessions and stores: tables that run, load and leak nothing.

Every text is escaped and shortened, by `_text` or `_label`, and none stands in an attribute. There
is no script, link or picture. Where a viewer drops the style, a plain table is left. A day stands
once, above what is of that day; a message's id and tokens are behind its time, in a `<details>`.

This module imports none of the classes that it shows: they import it when somebody looks.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from html import escape
from itertools import takewhile
from pkgutil import get_data
from typing import Any, NamedTuple

from sessionstore.errors import SessionStoreError
from sessionstore.forms.usage import tokens_of
from sessionstore.notebook.parts import CALLS, block_of, known_of, metadata_of, paired

__all__ = [
    "document_html",
    "fallback_html",
    "messages_html",
    "page_html",
    "session_html",
    "store_html",
    "stored_html",
]

# What is shown at most: of a page, a session, a message; then of a text, a fact, a name.
_SESSIONS, _NEWEST, _MESSAGES, _PARTS = 50, 10, 20, 10
_CHARACTERS, _LINES, _FACT, _NAME = 600, 12, 300, 60


class _Room(NamedTuple):
    """How many messages of a session are shown, how many parts of one, and how much of a text."""

    messages: int = _MESSAGES
    parts: int = _PARTS
    characters: int = _CHARACTERS
    lines: int = _LINES


_IN_A_NOTEBOOK, _ALL = _Room(), _Room(*[sys.maxsize - 1] * 4)

_ROLES = ("user", "assistant", "tool", "system", "developer")
# Control characters are shown as their pictures: a browser shows nothing, or something else.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}
_LOG, _PAGE = ("role", "time (UTC)", "content"), ("session", "about", "updated (UTC)")
_STYLE = (get_data(__name__, "notebook.css") or b"").decode()
# No script, no picture, nothing from anywhere, whatever a browser should make of the rest.
_DOCUMENT = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark }}
body {{ margin: 2em auto; max-width: 1100px; padding: 0 1em }}
</style>
</head>
<body>
{shown}
</body>
</html>
"""


def session_html(session: Any, place: Iterable[str] = ()) -> str:
    """Show a session: the last 20 of its messages, each tool's result beside its call."""
    return _session(session, place, _IN_A_NOTEBOOK)


def document_html(session: Any) -> str:
    """Give a page of its own that shows all of a session that is here, and loads nothing.

    Args:
        session: A `SessionData`.

    Returns:
        An HTML document.
    """
    title = f"session {_label(session.id, _CHARACTERS)}".replace("<bdi>", "").replace("</bdi>", "")
    return _DOCUMENT.format(title=title, shown=_session(session, (), _ALL))


def _session(session: Any, place: Iterable[str], room: _Room) -> str:
    count = max(session.message_count, len(session.messages))
    table = _messages(session.messages, count, room)
    times = f"updated {_utc(session.updated_at)} UTC, created {_utc(session.created_at)} UTC"
    name, title = f"session {_label(session.id, _CHARACTERS)}", _title(session)
    facts = [*([name] if title else []), *_facts(session), times, *place]
    return _view("log", title or name, facts, table, *_LOG)


def messages_html(messages: Sequence[Any]) -> str:
    """Show a list of messages: the last 20 of them, each tool's result beside its call."""
    table = _messages(messages, len(messages), _IN_A_NOTEBOOK)
    return _view("log", _counted(len(messages), "message"), [], table, *_LOG)


def page_html(page: Any) -> str:
    """Show a `SessionPage`: the first 50 of its sessions."""
    facts = [_counted(len(page.sessions), "session")]
    facts += ["more on the next page: give its cursor to list_sessions"] if page.cursor else []
    facts += ["the store is away: this is what is known"] if page.partial else []
    shown = page.sessions[:_SESSIONS]
    table = _sessions(shown) + _left_out(len(page.sessions) - len(shown), "more session")
    return _view("page", "sessions", facts, table, *_PAGE)


def store_html(store: Any) -> str:
    """Show a store's 10 newest sessions, by one list; or the error: it never raises."""
    title, facts = type(store).__name__, [f"its {_NEWEST} newest sessions at most"]
    try:
        title = repr(store)
        page = store.list_sessions(limit=_NEWEST)
        facts += ["list_sessions gives more"] if page.cursor else []
        rows = _sessions(page.sessions) or _note("No sessions.")
    except Exception as error:  # noqa: BLE001 - a notebook shows it, and goes on
        rows = _error(error)
    return _view("page", _label(title, _FACT), facts, rows, *_PAGE)


def stored_html(store: Any, session_id: str, *, user_id: str | None = None) -> str:
    """Show a session as its store has it, by one read; or the error: it never raises."""
    place: list[str] = []
    try:
        place.append(f"in {_label(repr(store), _FACT)}")
        session = store.get(session_id, limit=_MESSAGES, user_id=user_id)
        if session is not None:
            return session_html(session, place)
        row = _note("Not there yet.")
    except Exception as error:  # noqa: BLE001 - a notebook shows it, and goes on
        row = _error(error)
    return _view("log", f"session {_label(session_id, _CHARACTERS)}", place, row)


def fallback_html(
    store: Any, primary: object, fallback: object, pending: dict[str, Counter[str]]
) -> str:
    """Show the state of a `FallbackSessionStore`, and how many writes wait; it asks no store."""

    def line(waiting: tuple[str, Counter[str]]) -> str:
        kinds = ", ".join(f"{number:,} {_label(kind)}" for kind, number in waiting[1].items())
        return f"<p>{_label(waiting[0])}: {kinds}</p>"

    stats, state = store.stats(), "degraded" if store.is_degraded() else "healthy"
    away = f"{_counted(stats.fallbacks, 'outage')} ({stats.recoveries:,} over)"
    count = _counted(sum(map(Counter.total, pending.values())), "write")
    rows = (
        _row("primary", _label(repr(primary), _FACT)),
        _row("fallback", _label(repr(fallback), _FACT)),
        _row("pending", count + _some(list(pending.items()), line, "session")),
        _row("rejected", _counted(len(store.rejected()), "write")),
        _row("away", f"{away}, {stats.seconds_degraded:,.1f} seconds in all"),
        _row("writes", f"{stats.journaled:,} journaled, {stats.replayed:,} replayed"),
    )
    shown = f'<b class="{state}">{state}</b>'
    return _view("fields", "FallbackSessionStore", [], "".join(rows), "state", shown)


def _sessions(sessions: Iterable[Any]) -> str:
    def row(session: Any) -> tuple[str, str]:
        day, time = _moment(session.updated_at)
        title = _title(session)
        about = " · ".join([*([f"<b>{title}</b>"] if title else []), *_facts(session)])
        return day, _row(_label(session.id), about, _label(time))

    return _by_day(map(row, sessions))


def _title(session: Any) -> str:
    title = metadata_of(session).get("title")
    return _label(title) if title else ""


def _facts(session: Any) -> list[str]:
    metadata = {key: value for key, value in metadata_of(session).items() if key != "title"}
    return [
        f"agent {_label(session.agent_id)}",
        "no owner" if session.user_id is None else f"user {_label(session.user_id)}",
        f"version {session.version:,}",
        _counted(session.message_count, "message"),
        *([f"metadata {_label(_json(metadata), _FACT)}"] if metadata else []),
    ]


# -- Messages -------------------------------------------------------------------------------------


def _messages(messages: Sequence[Any], count: int, room: _Room) -> str:
    """Show the last of some messages, of which there are so many."""
    kept = messages[-room.messages :]
    rows = paired(kept)
    shown = _by_day(_message(*row, room, is_last=row is rows[-1]) for row in rows)
    return _left_out(count - len(kept), "earlier message") + shown or _note("No messages.")


def _message(message: Any, calls: list[Any], room: _Room, *, is_last: bool) -> tuple[str, str]:
    """Give the day of a message, and its row."""

    def line(pair: Any) -> str:
        call, result = pair
        args = _text(_json(call.get("args"), room.characters), room, "more")
        missing = "waiting for its result" if is_last else "no result"
        answer = _said(result, room) if result else f'<p class="open">{missing}</p>'
        asked = f"<b>{_label(call.get('name'))}</b> {args}"
        return f'<div class="call"><div>{asked}</div> <div class="result">{answer}</div></div>'

    speaker = f" <small>{_label(message.name)}</small>" if message.name else ""
    said = _said(message, room, *CALLS * bool(calls)) + _some(calls, line, "call", room.parts)
    role = message.role if message.role in _ROLES else "other"
    day, time = _moment(message.created_at)
    behind = _behind(time, message, [result for _, result in calls if result], room)
    return day, _row(_label(message.role) + speaker, behind, said, kind=role)


def _behind(time: str, message: Any, results: list[Any], room: _Room) -> str:
    """Show a time, and behind it the ids and tokens of a message and of the results beside it."""
    lines = [f"id {_label(message.id)}"] if message.id is not None else []
    if tokens := tokens_of(message):
        lines.append(f"tokens {tokens.input:,} in, {tokens.output:,} out")
    lines += [f"result {_label(one.id)}" for one in results[: room.parts] if one.id is not None]
    if not lines:
        return _label(time)
    shown = "".join(f"<p>{line}</p>" for line in lines)
    return f"<details><summary>{_label(time or 'no time')}</summary>{shown}</details>"


def _said(message: Any, room: _Room, *without: str) -> str:
    """Show what a message says; where that is nothing, what a framework knows of it, by name."""
    known = known_of(message)
    blocks = message.content if isinstance(message.content, list) else [message.content]
    error = '<p class="error">error</p>' if known.get("status") == "error" else ""
    said = error + _some(blocks, lambda one: _block(one, room, *without), "block", room.parts)
    if said or without:
        return said
    return _some(list(known), lambda name: _block({"type": name}, room), "part", room.parts)


def _block(block: Any, room: _Room, *without: str) -> str:
    kind, text, name = block_of(block)
    if text is not None:
        return _text(text, room) if "text" in kind else f"<i>{kind}</i> {_text(text, room)}"
    return "" if kind in without else f"<p><code>[{_label(name)}]</code></p>"


# -- Texts ----------------------------------------------------------------------------------------


def _text(text: str, room: _Room, more: str = "") -> str:
    """Show a text as it was written, as far as there is room; nothing for an empty one."""
    kept = "".join(text[: room.characters].splitlines(keepends=True)[: room.lines])
    left = len(text) - len(kept)
    # Beside the text, not in it: there, what is written from right to left would turn it round.
    rest = f"<p><i>… {more or _counted(left, 'more character')}</i></p>" if left else ""
    return (
        f'<div class="text" dir="auto">{_escaped(kept.translate(_PICTURES))}</div>{rest}'
        if kept
        else ""
    )


def _label(value: object, room: int = _NAME) -> str:
    """Show a name on one line, with all in it that can't be seen spelt out."""
    text = str.__str__(value) if isinstance(value, str) else str(value)
    kept = text[:room]
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else repr(c)[1:-1] for c in kept)
    return f"<bdi>{_escaped(kept)}{'…' * (len(text) > room)}</bdi>"


def _escaped(text: str) -> str:
    return escape(text.encode(errors="replace").decode())


def _json(value: Any, room: int = _CHARACTERS) -> str:
    """Write a value as JSON, or more of it than there is room for."""
    left = room + 1

    def short(part: Any) -> Any:  # each takes at least as many characters as it is counted for
        nonlocal left
        part = part[: max(left, 0)] if isinstance(part, str) else part
        left -= len(part) if isinstance(part, str) else 1
        if isinstance(part, dict):
            return {short(k): short(v) for k, v in takewhile(lambda _: left > 0, part.items())}
        if isinstance(part, (list, tuple)):
            return [short(item) for item in takewhile(lambda _: left > 0, part)]
        return part

    try:
        return json.dumps(short(value), ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return "what is not JSON"


def _moment(moment: Any) -> tuple[str, str]:
    """Give a day and a time, in UTC; of what is no time, no day."""
    if not isinstance(moment, datetime):
        return "", str(moment or "")[:19]
    with suppress(OverflowError, ValueError):  # the first day, or the last
        moment = moment.astimezone(timezone.utc)
    day, _, time = str(moment)[:19].partition(" ")
    return day, time


def _utc(moment: Any) -> str:
    return _label(" ".join(_moment(moment)).strip())


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


# -- Elements -------------------------------------------------------------------------------------


def _view(kind: str, title: str, facts: Iterable[str], rows: str, *heads: str) -> str:
    columns = "".join(f'<th scope="col">{head}</th>' for head in heads)
    # JupyterLab and the classic notebook would set what stands between two $ as mathematics.
    return (
        f'<div class="sessionstore-html mathjax_ignore tex2jax_ignore"><style>{_STYLE}</style>'
        f"<header><strong>{title}</strong> <small>{' · '.join(facts)}</small></header>"
        f'<div class="{kind}"><table><thead><tr>{columns}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )


def _row(head: str, *values: str, kind: str = "other") -> str:
    cells = "".join(f"<td>{value}</td>" for value in values)
    return f'<tr class="{kind}"><th scope="row">{head}</th>{cells}</tr>'


def _by_day(rows: Iterable[tuple[str, str]]) -> str:
    """Put rows together, each day once, above the first row that is of another day."""
    before, parts = "", []
    for day, row in rows:
        if day and day != before:
            parts.append(f'<tr class="day"><th scope="rowgroup" colspan="3">{day}</th></tr>')
            before = day
        parts.append(row)
    return "".join(parts)


def _error(error: Exception) -> str:
    why = f": {error}" if isinstance(error, SessionStoreError) else ""  # others quote secrets
    return _note(_label(f"{type(error).__name__}{why}", _FACT), "error")


def _note(text: str, kind: str = "more") -> str:
    return f'<tr class="{kind}"><td colspan="3">{text}</td></tr>'


def _left_out(count: int, thing: str) -> str:
    return _note(f"… {_counted(count, thing)}") if count > 0 else ""


def _some(things: Sequence[Any], show: Callable[[Any], str], thing: str, room: int = _PARTS) -> str:
    left = len(things) - room
    more = f"<p><i>… {_counted(left, f'more {thing}')}</i></p>" if left > 0 else ""
    return "".join(map(show, things[:room])) + more
