"""Chat sessions that survive restarts, outages, retries and two requests at once.

`SessionStore` is the contract; `InMemorySessionStore` and `SQLiteSessionStore` keep it, and
`open_store` makes the one that a URL names.
"""

from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.memory import InMemorySessionStore
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage, ToolCall
from sessionstore.sqlite import SQLiteSessionStore
from sessionstore.store import SessionStore
from sessionstore.url import open_store
from sessionstore.window import Window

__all__ = [
    "CorruptMessageError",
    "InMemorySessionStore",
    "InvalidMessageError",
    "InvalidSessionError",
    "SQLiteSessionStore",
    "SessionAccessError",
    "SessionConflictError",
    "SessionData",
    "SessionExistsError",
    "SessionInfo",
    "SessionMessage",
    "SessionNotFoundError",
    "SessionPage",
    "SessionStore",
    "SessionStoreError",
    "StoreUnavailableError",
    "ToolCall",
    "Window",
    "open_store",
]
