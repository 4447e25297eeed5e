"""Chat sessions that survive restarts, outages, retries and two requests at once.

`SessionStore` is the contract; `InMemorySessionStore`, `SQLiteSessionStore`, `RedisSessionStore`
and `DbSessionStore` keep it, `FallbackSessionStore` goes on when one of them is down, and
`open_store` makes the one that a URL names.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    # Not in __all__, as a star would import their drivers: the aliases make them public.
    from sessionstore.database import AgentDb as AgentDb
    from sessionstore.database import PostgresAgentDb as PostgresAgentDb
    from sessionstore.database import SqliteAgentDb as SqliteAgentDb
    from sessionstore.db import DbSessionStore as DbSessionStore
    from sessionstore.fallback import FallbackSessionStore, FallbackStats
    from sessionstore.redis import RedisSessionStore as RedisSessionStore
    from sessionstore.writes import PendingWrite

__all__ = [
    "CorruptMessageError",
    "FallbackSessionStore",
    "FallbackStats",
    "InMemorySessionStore",
    "InvalidMessageError",
    "InvalidSessionError",
    "PendingWrite",
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

# What needs a driver, or not everybody needs, is imported when it is first asked for.
_MODULES = {
    "AgentDb": "sessionstore.database",
    "DbSessionStore": "sessionstore.db",
    "FallbackSessionStore": "sessionstore.fallback",
    "FallbackStats": "sessionstore.fallback",
    "PendingWrite": "sessionstore.writes",
    "PostgresAgentDb": "sessionstore.database",
    "RedisSessionStore": "sessionstore.redis",
    "SqliteAgentDb": "sessionstore.database",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
