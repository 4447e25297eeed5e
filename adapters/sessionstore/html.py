"""What a notebook shows of sessions and stores: tables that run, load and leak nothing.

Every text is escaped and none stands in an attribute. There is no script, no link and no picture:
a medium is named, and whoever wrote its address learns nothing. What is shown is bounded, however
long a session is. Where a viewer drops the style, a plain table is left.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from mimetypes import guess_type
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from sessionstore._html_elements import (
    as_json,
    counted,
    data,
    element,
    fields,
    heading,
    label,
    omitted,
    prose,
    small,
    some,
    table,
    utc,
)
from sessionstore.errors import SessionStoreError
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage

if TYPE_CHECKING:
    from sessionstore.fallback.store import FallbackSessionStore
    from sessionstore.store import SessionStore

__all__ = ["fallback_html", "info_html", "page_html", "session_html", "stored_html"]

# What is shown at most.
_MESSAGES = 20
_SESSIONS = 50
_ROOM = 300

_ROLES = ("user", "assistant", "tool", "system", "developer")
_TEXTS = ("text", "text-plain", "input_text", "output_text")
_NAMED = ("reasoning", "thinking", "refusal")
_CALLS = ("tool_call", "tool_use", "function_call")
_RESULTS = ("tool", "function")
_NAMES = ("name", "title", "filename")


# -- What is shown of each object -----------------------------------------------------------------


def session_html(session: SessionData) -> str:
    """Show a session: its last 20 messages, each tool's result beside its call.

    Args:
        session: The session, with all of its messages or the last of them.

    Returns:
        An HTML element.
    """
    return _session(session, [])


def info_html(session: SessionInfo) -> str:
    """Show what is known of a session without its messages.

    Args:
        session: The session.

    Returns:
        An HTML element.
    """
    rows = [
        ("agent", label(session.agent_id)),
        ("owner", _owner(session)),
        ("messages", f"{session.message_count:,}"),
        ("version", f"{session.version:,}"),
        ("created", f"{utc(session.created_at)} UTC"),
        ("updated", f"{utc(session.updated_at)} UTC"),
        ("metadata", data(session.metadata) if session.metadata else "none"),
    ]
    return element(heading("session", session.id), fields(rows), "fields")


def page_html(page: SessionPage) -> str:
    """Show a page of sessions: the first 50 of them.

    Args:
        page: The page.

    Returns:
        An HTML element.
    """
    rows = [_listed(session) for session in page.sessions[:_SESSIONS]]
    rows += omitted(len(page.sessions) - len(rows), "more session")
    notes = [counted(len(page.sessions), "session")]
    notes += ["more on the next page: give its cursor to list_sessions"] if page.cursor else []
    notes += ["the store is away: this is what is known"] if page.partial else []
    body = table(("session", "messages", "updated (UTC)"), rows)
    return element(f"<strong>sessions</strong> {small(notes)}", body, "page")


def stored_html(store: SessionStore, session_id: str, *, user_id: str | None = None) -> str:
    """Show a session as it is in its store now, by one read of its last 20 messages.

    Args:
        store: Where the session is.
        session_id: Its id.
        user_id: The caller, where ownership is to be checked.

    Returns:
        An HTML element; one that tells the error where the session can't be read. It never raises.
    """
    place: list[str] = []
    try:
        place.append(f"in {label(repr(store), _ROOM)}")
        session = store.get(session_id, limit=_MESSAGES, user_id=user_id)
        if session is None:
            return element(heading("session", session_id, place), "<p>Not there yet.</p>", "log")
        return _session(session, place)
    except Exception as error:  # noqa: BLE001 - a notebook shows it, and goes on
        why = f'<p class="error">{_why(error)}</p>'
        return element(heading("session", session_id, place), why, "log")


def fallback_html(
    store: FallbackSessionStore,
    primary: SessionStore,
    fallback: SessionStore,
    pending: dict[str, Counter[str]],
) -> str:
    """Show how things stand with a fallback. It asks no store.

    Args:
        store: The store that falls back.
        primary: What it is the fallback of.
        fallback: Where its journal is.
        pending: How many of each kind of write wait, by session.

    Returns:
        An HTML element.
    """
    state = "degraded" if store.is_degraded() else "healthy"
    stats = store.stats()
    away = f"{counted(stats.fallbacks, 'outage')} ({stats.recoveries:,} over)"
    away += f", {stats.seconds_degraded:,.1f} seconds in all, {counted(stats.probes, 'probe')}"
    rows = [
        ("primary", label(repr(primary), _ROOM)),
        ("fallback", label(repr(fallback), _ROOM)),
        ("pending", _waiting(pending)),
        ("rejected", counted(len(store.rejected()), "write")),
        ("away", away),
        ("writes", f"{stats.journaled:,} taken in, {stats.replayed:,} put back"),
    ]
    head = f'<strong>FallbackSessionStore</strong> <b class="{state}">{state}</b>'
    return element(head, fields(rows), "fields")


# -- A session's messages -------------------------------------------------------------------------


def _session(session: SessionData, place: list[str]) -> str:
    shown = session.messages[-_MESSAGES:]
    earlier = max(session.message_count, len(session.messages)) - len(shown)
    head = heading("session", session.id, _facts(session) + place)
    return element(head, _log(shown, earlier), "log")


def _log(messages: Sequence[SessionMessage], earlier: int) -> str:
    answered = _answered(messages)
    rows = omitted(earlier, "earlier message")
    for message, results in answered:
        is_last = message is answered[-1][0]
        rows.append(_row(message, results, "waiting for its result" if is_last else "no result"))
    return table(("role", "time (UTC)", "content"), rows) if rows else "<p>No messages.</p>"


_Results = list[SessionMessage | None]


def _answered(messages: Sequence[SessionMessage]) -> list[tuple[SessionMessage, _Results]]:
    """Put each tool's result beside its call; one whose call is not here has a row of its own."""
    rows: list[tuple[SessionMessage, _Results]] = []
    waiting: dict[str, list[tuple[_Results, int]]] = {}
    for message in messages:
        asked = message.tool_call_id
        if message.role in _RESULTS and asked is not None and waiting.get(str(asked)):
            results, place = waiting[str(asked)].pop()
            results[place] = message
            continue
        calls = _calls(message)
        results = _Results([None] * len(calls))
        rows.append((message, results))
        for place in reversed(range(len(calls))):
            waiting.setdefault(str(calls[place].get("id") or ""), []).append((results, place))
    return rows


def _row(message: SessionMessage, results: _Results, unanswered: str) -> str:
    role = message.role if message.role in _ROLES else "other"
    speaker = f" {small([label(message.name)])}" if message.name else ""
    calls = list(zip(_calls(message), results, strict=True))
    content = _said(message, without_calls=bool(calls))
    content += some(calls, lambda call: _call(*call, unanswered), "call")
    return (
        f'<tr class="{role}"><th scope="row">{label(message.role)}{speaker}</th>'
        f'<td class="time">{utc(message.created_at)}</td><td>{content}</td></tr>'
    )


def _call(call: dict[str, Any], result: SessionMessage | None, unanswered: str) -> str:
    asked = f"<b>{label(call.get('name'))}</b> {data(call.get('args'))}"
    answer = _said(result) if result else f'<p class="open">{unanswered}</p>'
    return f'<div class="call"><div>{asked}</div> <div class="result">{answer}</div></div>'


def _calls(message: SessionMessage) -> list[dict[str, Any]]:
    calls: Any = message.tool_calls
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _said(message: SessionMessage, *, without_calls: bool = False) -> str:
    """Show what a message says; where that is nothing, what a framework knows of it, by name."""
    known = _known(message)
    failed = '<p class="error">error</p>' if known.get("status") == "error" else ""
    content = _content(message.content, without_calls=without_calls)
    if not (content or failed or without_calls or not known):
        content = some(list(known), lambda name: f"<p><code>[{label(name)}]</code></p>", "part")
    return failed + content


def _known(message: SessionMessage) -> dict[str, Any]:
    known: dict[str, Any] = {}
    extra: Any = message.extra
    for part in extra.values() if isinstance(extra, dict) else ():
        known |= part if isinstance(part, dict) else {}
    more = known.pop("additional_kwargs", None)  # LangChain's and LlamaIndex's word for all others
    return known | (more if isinstance(more, dict) else {})


def _content(content: Any, *, without_calls: bool = False) -> str:
    if isinstance(content, str):
        return prose(content)
    blocks = content if isinstance(content, list) else [content]
    if without_calls:  # they are shown as calls already
        blocks = [block for block in blocks if _kind(block) not in _CALLS]
    return some(blocks, _block, "block")


def _block(block: Any) -> str:
    kind = _kind(block)
    for names, key, before in ((_TEXTS, "text", ""), (_NAMED, kind, f"<i>{label(kind)}</i> ")):
        if kind in names and isinstance(block.get(key), str):
            return f"{before}{prose(block[key])}"
    what = kind.removeprefix("input_").removesuffix("_url")
    return f"<p><code>[{label(' '.join([what, *_titles(block)]))}]</code></p>"


def _kind(block: Any) -> str:
    if not isinstance(block, dict):
        return type(block).__name__
    return str(block.get("type") or block.get("block_type") or "block")


def _titles(block: Any) -> list[str]:
    """Name a medium by its title or its file: never by its address or its bytes."""
    if not isinstance(block, dict):
        return []
    places = [block, *(v for v in block.values() if isinstance(v, dict))]
    names = [place[key] for place in places for key in _NAMES if isinstance(place.get(key), str)]
    urls = [place["url"] for place in places if isinstance(place.get("url"), str)]
    names += filter(None, map(_file_of, urls))
    types = [place["mime_type"] for place in places if isinstance(place.get("mime_type"), str)]
    return [*names[:1], *types[:1]]


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
    hides = ";" in folder or "\\" in unquote(address.path)
    if address.scheme not in ("http", "https") or not address.netloc or hides:
        return ""
    return name if guess_type(name)[0] else ""


# -- Sessions -------------------------------------------------------------------------------------


def _facts(session: SessionInfo | SessionData) -> list[str]:
    facts = [
        f"agent {label(session.agent_id)}",
        _owner(session),
        f"version {session.version:,}",
        counted(session.message_count, "message"),
        f"updated {utc(session.updated_at)} UTC",
    ]
    if session.metadata:
        facts.append(f"metadata {label(as_json(session.metadata), _ROOM)}")
    return facts


def _listed(session: SessionInfo) -> str:
    title = session.metadata.get("title") if isinstance(session.metadata, dict) else None
    about = [label(title)] if title and isinstance(title, str) else []
    about += [f"agent {label(session.agent_id)}", _owner(session)]
    return (
        f'<tr><th scope="row">{label(session.id)} {small(about)}</th>'
        f"<td>{session.message_count:,}</td>"
        f'<td class="time">{utc(session.updated_at)}</td></tr>'
    )


def _owner(session: SessionInfo | SessionData) -> str:
    return "no owner" if session.user_id is None else f"user {label(session.user_id)}"


def _waiting(pending: dict[str, Counter[str]]) -> str:
    def line(session: tuple[str, Counter[str]]) -> str:
        kinds = ", ".join(f"{number:,} {label(kind)}" for kind, number in session[1].items())
        return f"<p>{label(session[0])}: {kinds}</p>"

    count = sum(sum(kinds.values()) for kinds in pending.values())
    return counted(count, "write") + some(list(pending.items()), line, "session")


def _why(error: Exception) -> str:
    told = f": {error}" if isinstance(error, SessionStoreError) else ""  # others may tell secrets
    return label(f"{type(error).__name__}{told}", _ROOM)
