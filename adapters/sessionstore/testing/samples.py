"""What the tests write: messages and ids, plain ones and nasty ones."""

from __future__ import annotations

from typing import Any

from sessionstore.models import SessionData, SessionMessage
from sessionstore.store import SessionStore

__all__ = ["BAD_IDS", "NASTY_IDS", "contents", "conversation", "ids", "said", "stored"]

NASTY_IDS = (
    "a",
    "A",
    " a",
    "a ",
    "a\0",
    "a\0b",
    "\0",
    "a\n",
    "a\r\n",
    "a\tb",
    "a:b",
    "a/b",
    "../a",
    "{a}",
    "{}",
    "}a{",
    "*",
    "?",
    "a*",
    "[a]",
    "%",
    "_",
    "a%",
    "'",
    '"',
    "';--",
    "\\",
    "C:\\a",
    "${a}",
    "0",
    "-1",
    "None",
    "null",
    "default",
    "\u00e9",
    "e\u0301",
    "\u00df",
    "ss",
    "\u0130",
    "i\u0307",
    "\ufeffa",
    "\u200b",
    "\uffff",
    "\U0010ffff",
    "\N{GRINNING FACE}",
    "\N{WOMAN}\u200d\N{WOMAN}\u200d\N{GIRL}",
    "x" * 512,
    "x" * 511,
    "\N{GRINNING FACE}" * 512,
)
"""Ids that differ in any way, and that no two of may ever meet."""

BAD_IDS: tuple[Any, ...] = ("", "x" * 513, 7, b"bytes", ["list"], "lone \ud800 surrogate")
"""What is no id."""


def said(text: str, id: str | None = None, **fields: Any) -> SessionMessage:
    """Make a user's message."""
    return SessionMessage("user", text, id=id, **fields)


def conversation(count: int) -> list[SessionMessage]:
    """Make messages ``m0``, ``m1``, … in turn of a user and an assistant."""
    return [
        SessionMessage(("user", "assistant")[number % 2], f"text {number}", id=f"m{number}")
        for number in range(count)
    ]


def ids(messages: list[SessionMessage]) -> list[str | None]:
    """Give the messages' ids."""
    return [message.id for message in messages]


def contents(messages: list[SessionMessage]) -> list[Any]:
    """Give the messages' contents."""
    return [message.content for message in messages]


def stored(store: SessionStore, session_id: str) -> SessionData:
    """Read a session that has to be there."""
    session = store.get(session_id)
    assert session is not None, f"session {session_id!r} is gone"
    return session
