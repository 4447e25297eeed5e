"""What a notebook shows of sessions and stores: tables that run, load and leak nothing.

Every text is escaped and shortened, by `_text` or `_label`, and none stands in an attribute. There
is no script, link or picture. Where a viewer drops the style, a plain table is left.

This module imports none of the classes that it shows: they import it when somebody looks.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timezone
from html import escape
from itertools import takewhile
from mimetypes import guess_type
from pkgutil import get_data
from typing import Any

from sessionstore.errors import SessionStoreError

__all__ = ["fallback_html", "page_html", "session_html", "stored_html"]

# What is shown at most: of a page, a session, a message; then of a text, a fact, a name.
_SESSIONS, _MESSAGES, _PARTS = 50, 20, 10
_CHARACTERS, _LINES, _FACT, _NAME = 600, 12, 300, 60

_ROLES = ("user", "assistant", "tool", "system", "developer")
_TEXTS = ("text", "text-plain", "input_text", "output_text", "reasoning", "thinking", "refusal")
_CALLS = ("tool_call", "tool_use", "function_call")
# A web address, up to its file's name: all else in it may be a secret.
_FILE = re.compile(r"(?i)(?!.*(?:\\|%5c))https?://[^/?#\[]+/(?:[^?#;]*/)?([^/?#;]+)")
# Control characters are shown as their pictures: a browser shows nothing, or something else.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}
_STYLE = (get_data(__name__, "notebook.css") or b"").decode()


def session_html(session: Any, place: Iterable[str] = ()) -> str:
    """Show a session: the last 20 of its messages, each tool's result beside its call."""
    messages = session.messages
    rows = _paired(messages[-_MESSAGES:])
    left = max(session.message_count, len(messages)) - len(messages[-_MESSAGES:])
    shown = [_message(*row, is_last=row is rows[-1]) for row in rows]
    table = "".join([_left_out(left, "earlier message"), *shown]) or _note("No messages.")
    times = f"updated {_utc(session.updated_at)} UTC, created {_utc(session.created_at)} UTC"
    facts, title = [*_facts(session), times, *place], f"session {_label(session.id, _CHARACTERS)}"
    return _view("log", title, facts, table, "role", "time (UTC)", "content")


def page_html(page: Any) -> str:
    """Show a `SessionPage`: the first 50 of its sessions."""
    facts = [_counted(len(page.sessions), "session")]
    facts += ["more on the next page: give its cursor to list_sessions"] if page.cursor else []
    facts += ["the store is away: this is what is known"] if page.partial else []
    shown = page.sessions[:_SESSIONS]
    rows = [_row(_label(one.id), " · ".join(_facts(one)), _utc(one.updated_at)) for one in shown]
    table = "".join(rows) + _left_out(len(page.sessions) - len(shown), "more session")
    return _view("page", "sessions", facts, table, "session", "about", "updated (UTC)")


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
        why = f": {error}" if isinstance(error, SessionStoreError) else ""  # others quote secrets
        row = _note(_label(f"{type(error).__name__}{why}", _FACT), "error")
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


def _facts(session: Any) -> list[str]:
    metadata = dict(_dict(session.metadata))
    title = metadata.pop("title", None)
    return [
        *([_label(title)] if title else []),
        f"agent {_label(session.agent_id)}",
        "no owner" if session.user_id is None else f"user {_label(session.user_id)}",
        f"version {session.version:,}",
        _counted(session.message_count, "message"),
        *([f"metadata {_label(_json(metadata), _FACT)}"] if metadata else []),
    ]


# -- Messages -------------------------------------------------------------------------------------


def _paired(messages: Iterable[Any]) -> list[tuple[Any, list[Any]]]:
    """Pair each call with its result; a result whose call is not here has a row of its own."""
    rows: list[tuple[Any, list[Any]]] = []
    for message in messages:
        answered = message.tool_call_id if message.role in ("tool", "function") else None
        newest_first = (pair for row in reversed(rows) for pair in row[1] if pair[1] is None)
        pair = next((one for one in newest_first if (one[0].get("id") or "") == answered), None)
        if pair:
            pair[1] = message
        else:
            calls = message.tool_calls if isinstance(message.tool_calls, list) else []
            rows.append((message, [[call, None] for call in calls if isinstance(call, dict)]))
    return rows


def _message(message: Any, calls: list[Any], *, is_last: bool) -> str:
    def line(pair: Any) -> str:
        call, result = pair
        asked = f"<b>{_label(call.get('name'))}</b> {_text(_json(call.get('args')), 'more')}"
        missing = "waiting for its result" if is_last else "no result"
        answer = _said(result) if result else f'<p class="open">{missing}</p>'
        return f'<div class="call"><div>{asked}</div> <div class="result">{answer}</div></div>'

    speaker = f" <small>{_label(message.name)}</small>" if message.name else ""
    said = _said(message, *_CALLS * bool(calls)) + _some(calls, line, "call")
    role = message.role if message.role in _ROLES else "other"
    return _row(_label(message.role) + speaker, _utc(message.created_at), said, kind=role)


def _said(message: Any, *without: str) -> str:
    """Show what a message says; where that is nothing, what a framework knows of it, by name."""
    parts = map(_dict, _dict(message.extra).values())
    known = {name: value for part in parts for name, value in part.items()}
    known |= _dict(known.pop("additional_kwargs", None))  # where frameworks keep all other fields
    blocks = message.content if isinstance(message.content, list) else [message.content]
    error = '<p class="error">error</p>' if known.get("status") == "error" else ""
    said = error + _some(blocks, lambda block: _block(block, *without), "block")
    return said or ("" if without else _some([{"type": name} for name in known], _block, "part"))


def _block(block: Any, *without: str) -> str:
    fields = {"type": "text", "text": block} if isinstance(block, str) else _dict(block)
    kind = str(fields.get("type") or fields.get("block_type") or type(block).__name__)
    said = fields.get("text" if "text" in kind else kind)
    if kind in _TEXTS and isinstance(said, str):
        return _text(said) if "text" in kind else f"<i>{kind}</i> {_text(said)}"
    name = " ".join([kind.removeprefix("input_").removesuffix("_url"), *_titles(fields)])
    return "" if kind in without else f"<p><code>[{_label(name)}]</code></p>"


def _titles(block: dict[str, Any]) -> list[str]:
    """Name a medium by its title or its file: never by its address or its bytes."""
    places = [*map(_dict, block.values()), block]
    texts = {key: text for place in places for key, text in place.items() if isinstance(text, str)}
    names = [texts[key] for key in ("name", "title", "filename") if key in texts]
    file = _FILE.match(texts.get("url", ""))
    names += [file[1]] if file and guess_type(file[1])[0] else []
    return [*names[:1], *([texts["mime_type"]] if "mime_type" in texts else [])]


# -- Texts ----------------------------------------------------------------------------------------


def _text(text: str, more: str = "") -> str:
    """Show a text as it was written, as far as there is room; nothing for an empty one."""
    kept = "".join(text[:_CHARACTERS].splitlines(keepends=True)[:_LINES])
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


def _json(value: Any) -> str:
    """Write a value as JSON, or more of it than there is room for."""
    left = _CHARACTERS + 1

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


def _utc(moment: Any) -> str:
    with suppress(AttributeError, OverflowError, ValueError):  # no time; the first day, or the last
        moment = moment.astimezone(timezone.utc)
    return _label(str(moment or "")[:19])


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


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


def _note(text: str, kind: str = "more") -> str:
    return f'<tr class="{kind}"><td colspan="3">{text}</td></tr>'


def _left_out(count: int, thing: str) -> str:
    return _note(f"… {_counted(count, thing)}") if count > 0 else ""


def _some(things: Sequence[Any], show: Callable[[Any], str], thing: str) -> str:
    left = len(things) - _PARTS
    more = f"<p><i>… {_counted(left, f'more {thing}')}</i></p>" if left > 0 else ""
    return "".join(map(show, things[:_PARTS])) + more
