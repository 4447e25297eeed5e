"""What nobody may get into a notebook's page, and what is there of a page."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from html.parser import HTMLParser
from typing import Any

from servers.process import free_port

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
)

PASSWORD = "s3cret"  # noqa: S105 - of no store
ATTACK = "document.title = 'owned'"
HOSTILE = (
    f"<script>{ATTACK}</script>",
    f"</bdi></div></td></tr></table></header></style><script>{ATTACK}</script>",
    f'"\'><img src=x onerror="{ATTACK}">',
    f"<svg/onload='{ATTACK}'>",
    f"<scr\0ipt>{ATTACK}</scr\0ipt>",
    f"<!--<script>{ATTACK}</script>--!><body onpageshow={ATTACK}>",
    "&lt;b&gt; &amp;amp; &#60;",
    "$x$ \\(y\\) $$z$$",
    "\u202e\u2066 from right to left \u200b\u200d",
    "a" * 500,
)


def loading(address: str) -> tuple[str, ...]:
    """Give texts that make a browser ask an address, if they are taken for anything but text."""
    return (
        f"<img src='{address}/img'><link rel=stylesheet href='{address}/link'>",
        f"<style>@import url({address}/import); * {{ background: url({address}/style) }}</style>",
        f"<iframe src='{address}/frame'></iframe><base href='{address}'>",
    )


def attacked(text: str, address: str = "https://example.org") -> SessionData:
    """Make a session with one text in every place that takes any."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    call: Any = {"name": text, "args": {text: [text]}, "id": text}
    media: list[dict[str, Any]] = [
        {"type": "image", "url": f"{address}/picture.png?{text}"},
        {"type": "image_url", "image_url": {"url": f"{address}/{text}"}},
        {"type": "audio", "url": f"{address}/sound.mp3", "title": text, "mime_type": text},
        {"type": text, text: text},
    ]
    texts = [{"type": "text", "text": text}, {"type": "reasoning", "reasoning": text}]
    made: Any = {"created_at": moment, "name": text}
    return SessionData(
        id=text,
        agent_id=text,
        user_id=text,
        metadata={"title": text, text: text},
        created_at=moment,
        updated_at=moment,
        version=1,
        message_count=500,
        messages=[
            SessionMessage(text, text, **made),
            SessionMessage("user", media, **made),
            SessionMessage("assistant", [*texts, *media], tool_calls=[call, call], **made),
            SessionMessage("tool", text, tool_call_id=text, **made),
        ],
    )


def info_of(session: SessionData) -> SessionInfo:
    """Give a session without its messages."""
    fields = set(SessionInfo.__struct_fields__) - {"messages"}
    return SessionInfo(**{name: getattr(session, name) for name in fields})


def shown(text: str, address: str = "https://example.org") -> dict[str, Any]:
    """Make one of each object that shows itself, with one text wherever there can be any."""
    session = attacked(text, address)
    store = InMemorySessionStore()
    store.create(text, messages=session.messages, agent_id=text, user_id=text)
    away = RedisSessionStore(f"redis://me:{PASSWORD}@127.0.0.1:{free_port()}", timeout=0.2)
    fallback = FallbackSessionStore(away)
    fallback.append_messages(text, session.messages)
    return {
        "data": session,
        "info": info_of(session),
        "store": store,
        "handle": store.session(text, user_id="another"),
        "page": SessionPage([info_of(session)] * 60, text, partial=True),
        "history": SessionChatMessageHistory(text, store),
        "refused history": SessionChatMessageHistory(text, store, user_id="another"),
        "empty history": SessionChatMessageHistory("-", store),
        "history in an outage": SessionChatMessageHistory(text, away),
        "fallback": fallback,
    }


class Page(HTMLParser):
    """A page's elements, its attributes, and its text, as a parser sees them.

    Attributes:
        tags: The names of the elements.
        attributes: The names and values of their attributes.
        text: All text but the style's.
        rows: That of each row, but for what is behind its time.
        days: The days that stand above rows.
        behind: What is behind the times.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.rows: list[str] = []
        self.days: list[str] = []
        self.behind: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == [], "each element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(attrs)
        self._open.append(tag)
        if tag == "tr":
            self._row = self.days if ("class", "day") in attrs else self.rows
            self._row.append("")
        if tag == "details":
            self.behind.append("")
        assert tag != "th" or "scope" in dict(attrs), "a heading says what it is the heading of"

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, "elements are closed in their order"

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.text += data
        if "details" in self._open and "summary" not in self._open:
            self.behind[-1] += data
        elif "tr" in self._open:
            self._row[-1] += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    handle_decl = handle_pi = unknown_decl = handle_comment


def pages(text: str) -> Iterator[tuple[str, Page]]:
    """Show each object, and read what it shows."""
    for name, thing in shown(text).items():
        yield name, Page(thing._repr_html_())
