"""What a notebook shows of sessions and stores: tables that run, load and leak nothing.

Every text is escaped, by `_text` or `_label`, and none stands in an attribute. There is no script,
link or picture: a medium is named, and whoever wrote its address learns nothing. What is shown is
bounded, however long a session is. Where a viewer drops the style, a plain table is left.

This module imports none of those it shows, since they import it when somebody looks.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from itertools import takewhile
from mimetypes import guess_type
from typing import Any
from urllib.parse import unquote, urlsplit

from sessionstore.errors import SessionStoreError

__all__ = ["fallback_html", "info_html", "page_html", "session_html", "stored_html"]

# What is shown at most: of a page, a session, a message; then of a text, a fact, a name.
_SESSIONS, _MESSAGES, _PARTS = 50, 20, 10
_CHARACTERS, _LINES, _ROOM, _NAME = 600, 12, 300, 60

_ROLES = ("user", "assistant", "tool", "system", "developer")
_RESULTS = ("tool", "function")
_TEXTS = ("text", "text-plain", "input_text", "output_text")
_NAMED = ("reasoning", "thinking", "refusal")
_CALLS = ("tool_call", "tool_use", "function_call")

# -- What is shown of each object -----------------------------------------------------------------


def session_html(session: Any, place: Iterable[str] = ()) -> str:
    """Show a `SessionData`: its last 20 messages, each tool's result beside its call."""
    shown = session.messages[-_MESSAGES:]
    earlier = max(session.message_count, len(session.messages)) - len(shown)
    said = _answered(shown)
    rows = _omitted(earlier, "earlier message")
    rows += [_message(*one, is_last=one is said[-1]) for one in said]
    body = _table(rows, ("role", "time (UTC)", "content")) if rows else "<p>No messages.</p>"
    return _element("log", _heading(session.id, [*_facts(session), *place]), body)


def info_html(session: Any) -> str:
    """Show a `SessionInfo`: what is known of a session without its messages."""
    created = f"created {_utc(session.created_at)} UTC"
    return _element("log", _heading(session.id, [*_facts(session), created]), "")


def page_html(page: Any) -> str:
    """Show a `SessionPage`: the first 50 of its sessions."""
    rows = [_listed(session) for session in page.sessions[:_SESSIONS]]
    rows += _omitted(len(page.sessions) - len(rows), "more session")
    notes = [_counted(len(page.sessions), "session")]
    notes += ["more on the next page: give its cursor to list_sessions"] if page.cursor else []
    notes += ["the store is away: this is what is known"] if page.partial else []
    table = _table(rows, ("session", "messages", "updated (UTC)"))
    return _element("page", f"<strong>sessions</strong> {_small(notes)}", table)


def stored_html(store: Any, session_id: str, *, user_id: str | None = None) -> str:
    """Show a session as its store has it, by one read; or the error: it never raises."""
    place: list[str] = []
    try:
        place.append(f"in {_label(repr(store), _ROOM)}")
        session = store.get(session_id, limit=_MESSAGES, user_id=user_id)
        if session is not None:
            return session_html(session, place)
        body = "<p>Not there yet.</p>"
    except Exception as error:  # noqa: BLE001 - a notebook shows it, and goes on
        why = f": {error}" if isinstance(error, SessionStoreError) else ""  # others quote secrets
        body = f'<p class="error">{_label(f"{type(error).__name__}{why}", _ROOM)}</p>'
    return _element("log", _heading(session_id, place), body)


def fallback_html(
    store: Any, primary: object, fallback: object, pending: dict[str, Counter[str]]
) -> str:
    """Show the state of a `FallbackSessionStore`, and how many writes wait; it asks no store."""
    state, stats = "degraded" if store.is_degraded() else "healthy", store.stats()
    away = f"{_counted(stats.fallbacks, 'outage')} ({stats.recoveries:,} over)"
    away += f", {stats.seconds_degraded:,.1f} seconds in all, {_counted(stats.probes, 'probe')}"
    rows = [
        _row("primary", _label(repr(primary), _ROOM)),
        _row("fallback", _label(repr(fallback), _ROOM)),
        _row("pending", _waiting(pending)),
        _row("rejected", _counted(len(store.rejected()), "write")),
        _row("away", away),
        _row("writes", f"{stats.journaled:,} journaled, {stats.replayed:,} replayed"),
    ]
    head = f'<strong>FallbackSessionStore</strong> <b class="{state}">{state}</b>'
    return _element("fields", head, _table(rows))


def _facts(session: Any) -> list[str]:
    facts = [
        *_about(session),
        f"version {session.version:,}",
        _counted(session.message_count, "message"),
        f"updated {_utc(session.updated_at)} UTC",
    ]
    metadata = [f"metadata {_label(_as_json(session.metadata), _ROOM)}"]
    return facts + metadata if session.metadata else facts


def _about(session: Any) -> list[str]:
    owner = "no owner" if session.user_id is None else f"user {_label(session.user_id)}"
    return [f"agent {_label(session.agent_id)}", owner]


def _listed(session: Any) -> str:
    title = session.metadata.get("title") if isinstance(session.metadata, dict) else None
    about = [_label(title)] if title and isinstance(title, str) else []
    head = f"{_label(session.id)} {_small([*about, *_about(session)])}"
    return _row(head, f"{session.message_count:,}", _utc(session.updated_at))


def _waiting(pending: dict[str, Counter[str]]) -> str:
    def line(session: tuple[str, Counter[str]]) -> str:
        kinds = ", ".join(f"{number:,} {_label(kind)}" for kind, number in session[1].items())
        return f"<p>{_label(session[0])}: {kinds}</p>"

    count = sum(sum(kinds.values()) for kinds in pending.values())
    return _counted(count, "write") + _some(list(pending.items()), line, "session")


# -- A session's messages -------------------------------------------------------------------------

_Pair = list[Any]  # a tool call, and its result or None


def _answered(messages: Sequence[Any]) -> list[tuple[Any, list[_Pair]]]:
    """Pair each call with its result; a result whose call is not here has a row of its own."""
    rows: list[tuple[Any, list[_Pair]]] = []
    waiting = defaultdict[str, list[_Pair]](list)
    for message in messages:
        answers = message.tool_call_id is not None and message.role in _RESULTS
        if answers and waiting[str(message.tool_call_id)]:
            waiting[str(message.tool_call_id)].pop()[1] = message
            continue
        calls = message.tool_calls if isinstance(message.tool_calls, list) else []
        pairs: list[_Pair] = [[call, None] for call in calls if isinstance(call, dict)]
        rows.append((message, pairs))
        for pair in reversed(pairs):
            waiting[str(pair[0].get("id") or "")].append(pair)
    return rows


def _message(message: Any, calls: list[_Pair], *, is_last: bool) -> str:
    def line(pair: _Pair) -> str:
        call, result = pair
        asked = f"<b>{_label(call.get('name'))}</b> {_text(_as_json(call.get('args')), 'more')}"
        missing = "waiting for its result" if is_last else "no result"
        answer = _said(result) if result else f'<p class="open">{missing}</p>'
        return f'<div class="call"><div>{asked}</div> <div class="result">{answer}</div></div>'

    role = message.role if message.role in _ROLES else "other"
    speaker = f" {_small([_label(message.name)])}" if message.name else ""
    said = _said(message, without_calls=bool(calls)) + _some(calls, line, "call")
    return _row(_label(message.role) + speaker, _utc(message.created_at), said, kind=role)


def _said(message: Any, *, without_calls: bool = False) -> str:
    """Show what a message says; where that is nothing, what a framework knows of it, by name."""
    extra, content = message.extra, message.content
    parts = extra.values() if isinstance(extra, dict) else ()
    known = {name: part[name] for part in parts if isinstance(part, dict) for name in part}
    more = known.pop("additional_kwargs", None)  # LangChain's and LlamaIndex's word for all others
    known |= more if isinstance(more, dict) else {}
    blocks = content if isinstance(content, list) else [content]
    shown = [one for one in blocks if not (without_calls and _kind(one) in _CALLS)]
    said = '<p class="error">error</p>' if known.get("status") == "error" else ""
    said += _text(content) if isinstance(content, str) else _some(shown, _block, "block")
    return said if said or without_calls else _some(list(known), _named, "part")


def _block(block: Any) -> str:
    kind, fields = _kind(block), block if isinstance(block, dict) else {}
    said = fields.get("text" if kind in _TEXTS else kind)
    if kind in (*_TEXTS, *_NAMED) and isinstance(said, str):
        return (f"<i>{_label(kind)}</i> " if kind in _NAMED else "") + _text(said)
    return _named(" ".join([kind.removeprefix("input_").removesuffix("_url"), *_titles(fields)]))


def _kind(block: Any) -> str:
    known = isinstance(block, dict) and (block.get("type") or block.get("block_type") or "block")
    return str(known or type(block).__name__)


def _titles(block: dict[str, Any]) -> list[str]:
    """Name a medium by its title or its file: never by its address or its bytes."""

    def texts(*keys: str) -> list[str]:
        return [place[key] for place in places for key in keys if isinstance(place.get(key), str)]

    places = [block, *(value for value in block.values() if isinstance(value, dict))]
    names = [*texts("name", "title", "filename"), *filter(None, map(_file_of, texts("url")))]
    return [*names[:1], *texts("mime_type")[:1]]


def _file_of(url: str) -> str:
    """Name the file of a web address, as far as it is one: all else may be a secret."""
    if url[:4].lower() != "http":
        return ""
    try:
        address = urlsplit(url)
    except ValueError:
        return ""
    folder, _, name = address.path.rpartition("/")
    name = name.partition(";")[0]
    is_web = address.scheme in ("http", "https") and address.netloc
    hides = ";" in folder or "\\" in unquote(address.path)
    return name if is_web and not hides and guess_type(name)[0] else ""


# -- Texts ----------------------------------------------------------------------------------------

# Control characters are shown as their pictures: a browser shows nothing, or something else.
_PICTURES = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}


def _text(text: str, more: str = "") -> str:
    """Show a text as it was written, as far as there is room; nothing for an empty one."""
    kept = "".join(text[:_CHARACTERS].splitlines(keepends=True)[:_LINES])
    left = len(text) - len(kept)
    # Beside the text, not in it: there, what is written from right to left would turn it round.
    rest = f"<p><i>… {more or _counted(left, 'more character')}</i></p>" if left else ""
    shown = _escaped(kept.translate(_PICTURES))
    return f'<div class="text" dir="auto">{shown}</div>{rest}' if kept else ""


def _named(name: object) -> str:
    return f"<p><code>[{_label(name)}]</code></p>"


def _label(value: object, room: int = _NAME) -> str:
    """Show a name on one line, with all in it that can't be seen spelt out."""
    text = str.__str__(value) if isinstance(value, str) else str(value)
    kept = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[:room])
    return f"<bdi>{_escaped(kept)}{'…' * (len(text) > room)}</bdi>"


def _as_json(value: object) -> str:
    """Give a value as JSON, or more of it than there is room for; what is none by its type."""
    left = _CHARACTERS + 1

    def short(part: Any) -> Any:  # each takes at least as many characters as it is counted for
        nonlocal left
        if isinstance(part, str):
            part = part[: max(left, 0)]
        left -= len(part) if isinstance(part, str) else 1
        if isinstance(part, dict):
            return {short(k): short(v) for k, v in takewhile(lambda _: left > 0, part.items())}
        if isinstance(part, (list, tuple)):
            return [short(item) for item in takewhile(lambda _: left > 0, part)]
        return part

    try:
        value = short(value)
        return json.dumps(value, ensure_ascii=False, default=lambda odd: f"<{type(odd).__name__}>")
    except (TypeError, ValueError, RecursionError):
        return "what is not JSON"


def _utc(moment: object) -> str:
    if not isinstance(moment, datetime):
        return ""
    try:
        moment = moment.astimezone(timezone.utc)
    except (OverflowError, ValueError):  # the first day, or the last
        moment = moment.replace(tzinfo=None)
    return moment.isoformat(" ", "seconds")[:19]


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _escaped(text: str) -> str:
    return escape(text.encode(errors="replace").decode())


# -- Elements -------------------------------------------------------------------------------------


def _element(kind: str, head: str, body: str) -> str:
    # JupyterLab and the classic notebook would set what stands between two $ as mathematics.
    return (
        f'<div class="sessionstore-html mathjax_ignore tex2jax_ignore"><style>{_STYLE}</style>'
        f'<header>{head}</header><div class="{kind}">{body}</div></div>'
    )


def _heading(session_id: str, facts: Iterable[str]) -> str:
    return f"<strong>session {_label(session_id, _CHARACTERS)}</strong> {_small(facts)}"


def _small(facts: Iterable[str]) -> str:
    return f"<small>{' · '.join(facts)}</small>"


def _table(rows: Iterable[str], names: Iterable[str] = ()) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    head = f"<thead><tr>{heads}</tr></thead>" if heads else ""
    return f"<table>{head}<tbody>{''.join(rows)}</tbody></table>"


def _row(head: str, *values: str, kind: str = "other") -> str:
    cells = "".join(f"<td>{value}</td>" for value in values)
    return f'<tr class="{kind}"><th scope="row">{head}</th>{cells}</tr>'


def _some(things: Sequence[Any], show: Callable[[Any], str], thing: str) -> str:
    left = len(things) - _PARTS
    more = f"<p><i>… {_counted(left, f'more {thing}')}</i></p>" if left > 0 else ""
    return "".join(map(show, things[:_PARTS])) + more


def _omitted(count: int, thing: str) -> list[str]:
    more = f'<tr class="more"><td colspan="3">… {_counted(count, thing)}</td></tr>'
    return [more] if count > 0 else []


# The class is named three times to outweigh the notebook's own rules for tables. The colors are the
# notebook's; where it has none, those of the page's color-scheme. Both ink and paper are set, so
# that they fit each other on any page. A container has no width of its own: where its host asks
# for one (a flex item, a cell), it would have none.
_STYLE = """
& { container-type: inline-size; box-sizing: border-box; min-width: 280px; max-width: 1100px;
  overflow: hidden; text-align: left; border: 1px solid #8884; border-radius: 6px;
  font: 13px/1.45 var(--jp-content-font-family, var(--vscode-font-family, system-ui, sans-serif));
  color: var(--jp-content-font-color1, var(--vscode-editor-foreground, light-dark(#222, #ddd)));
  background: var(--jp-layout-color0, var(--vscode-editor-background, light-dark(#fff, #181818))); }
[data-jp-theme-light="false"] &, .vscode-dark &, .vscode-high-contrast & { color-scheme: dark; }
[data-jp-theme-light="true"] &, .vscode-light &, .vscode-high-contrast-light & {
  color-scheme: light; }
& * { overflow-wrap: anywhere; }
& bdi { display: inline-block; max-width: 100%; overflow: hidden; vertical-align: top; }
& .text { white-space: pre-wrap; overflow: hidden; unicode-bidi: isolate; }
& header { padding: 8px 12px; background: #8881; }
& small, & thead th, & .more td, & i { font-size: 12px; font-style: normal; opacity: .8; }
& table { table-layout: fixed; width: 100%; margin: 0; border: 0; border-collapse: collapse;
  font: inherit; color: inherit; }
& tr:nth-child(n) { background: transparent; border: 0; border-top: 1px solid #8883; }
& th, & td { padding: 6px 12px; border: 0; text-align: left; vertical-align: top; max-width: none;
  font-weight: inherit; white-space: normal; }
& tbody th, & b { font-weight: 600; }
& tbody th small { display: block; font-weight: 400; }
& th { width: 84px; } & .page th:first-child, & .log th:nth-child(3) { width: auto; }
& .log th:nth-child(2), & .page th:nth-child(3) { width: 136px; }
& .user th { color: light-dark(#084a9a, #8ab8ff); }
& .assistant th, & .healthy { color: light-dark(#0c5c2e, #7fd6a0); }
& .tool th, & .open { color: light-dark(#733d00, #f0b86a); }
& .error, & .degraded { color: light-dark(#b3261e, #ff9d94); }
& p { margin: 0; } & > div > p { padding: 8px 12px; }
& code { display: flex; padding: 0; font-size: 12px; color: inherit; background: transparent; }
& .call { display: flex; flex-wrap: wrap; gap: 4px 12px; padding: 4px 8px; background: #8881; }
& .call > div { flex: 1 1 220px; min-width: 0; }
& .result { padding-left: 12px; border-left: 2px solid #8886; }
@container (max-width: 560px) {
  & .log thead { display: none; }
  & .log th, & .log td { display: inline-block; width: auto; padding: 3px 12px; }
  & .log td:last-child { display: block; } & .page th:nth-child(n + 2) { width: 74px; }
}
""".replace("&", ".sessionstore-html" * 3)
