"""Chat sessions that survive restarts, outages, retries and two requests at once.

`SessionStore` is the contract; `InMemorySessionStore`, `SQLiteSessionStore`, `RedisSessionStore`
and `DbSessionStore` keep it, `FallbackSessionStore` goes on when one of them is down,
`EncryptedSessionStore` gives them nothing that can be read, and `open_store` makes the one that a
URL names.

A name whose driver is not installed raises an `ImportError` that says what to install, from
`hasattr` too; `dir` and a star leave it out.
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from sessionstore.bound_session import BoundSession
from sessionstore.bounds import StoreBounds
from sessionstore.errors import (
    CorruptMessageError,
    DecryptionError,
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    OutageError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionLeasedError,
    SessionNotFoundError,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreTimeoutError,
    StoreUnavailableError,
)
from sessionstore.leases import Lease
from sessionstore.memory import InMemorySessionStore
from sessionstore.models import SessionData, SessionInfo, SessionMessage, SessionPage, ToolCall
from sessionstore.sqlite.store import SQLiteSessionStore
from sessionstore.stats import StoreConnections, StoreEvent, StoreStats
from sessionstore.store import SessionStore
from sessionstore.url import open_store
from sessionstore.window import Window
from sessionstore.wrapper import WrapperSessionStore

if TYPE_CHECKING:
    from sessionstore.encryption import EncryptedSessionStore
    from sessionstore.fallback import FallbackSessionStore, FallbackStats, PendingWrite
    from sessionstore.redis.store import RedisSessionStore
    from sessionstore.sql import AgentDb, DbSessionStore, PostgresAgentDb, SqliteAgentDb
    from sessionstore.tracing import TracedSessionStore

__all__ = [
    "AgentDb",
    "BoundSession",
    "CorruptMessageError",
    "DbSessionStore",
    "DecryptionError",
    "EncryptedSessionStore",
    "FallbackSessionStore",
    "FallbackStats",
    "InMemorySessionStore",
    "InvalidMessageError",
    "InvalidSessionError",
    "InvalidTypeError",
    "Lease",
    "OutageError",
    "PendingWrite",
    "PostgresAgentDb",
    "RedisSessionStore",
    "SQLiteSessionStore",
    "SessionAccessError",
    "SessionConflictError",
    "SessionData",
    "SessionExistsError",
    "SessionInfo",
    "SessionLeasedError",
    "SessionMessage",
    "SessionNotFoundError",
    "SessionPage",
    "SessionStore",
    "SessionStoreError",
    "SqliteAgentDb",
    "StoreBounds",
    "StoreBusyError",
    "StoreConnectionError",
    "StoreConnections",
    "StoreEvent",
    "StoreReadOnlyError",
    "StoreStats",
    "StoreTimeoutError",
    "StoreUnavailableError",
    "ToolCall",
    "TracedSessionStore",
    "Window",
    "WrapperSessionStore",
    "open_store",
]

_NAMES = __all__
if not TYPE_CHECKING:
    del __all__  # asked for as the others are: what a star can't import is not among them

# What needs a driver, or not everybody needs, is imported when it is first asked for.
_MODULES = {
    "AgentDb": "sessionstore.sql",
    "DbSessionStore": "sessionstore.sql",
    "EncryptedSessionStore": "sessionstore.encryption",
    "FallbackSessionStore": "sessionstore.fallback",
    "FallbackStats": "sessionstore.fallback",
    "PendingWrite": "sessionstore.fallback",
    "PostgresAgentDb": "sessionstore.sql",
    "RedisSessionStore": "sessionstore.redis",
    "SqliteAgentDb": "sessionstore.sql",
    "TracedSessionStore": "sessionstore.tracing",
}
# The driver that a name needs, and the extra that brings it.
_DRIVERS = {
    "AgentDb": ("sqlalchemy", "sql"),
    "DbSessionStore": ("sqlalchemy", "sql"),
    "EncryptedSessionStore": ("cryptography", "encryption"),
    "PostgresAgentDb": ("sqlalchemy", "postgres"),
    "RedisSessionStore": ("redis", "redis"),
    "SqliteAgentDb": ("sqlalchemy", "sql"),
    "TracedSessionStore": ("opentelemetry", "otel"),
}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return list(filter(_can_be_had, _NAMES))
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if not _can_be_had(name):
        extra = _DRIVERS[name][1]
        hint = f"pip install 'sessionstore[{extra}]'"
        raise ImportError(f"{name} needs the {extra} extra: {hint}", name=_DRIVERS[name][0])
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    # help and inspect read each of these names: none may raise.
    dunders = {name for name in globals() if name.startswith("__")}
    return sorted({*dunders, "__all__", *filter(_can_be_had, _NAMES)})


def _can_be_had(name: str) -> bool:
    return name not in _DRIVERS or find_spec(_DRIVERS[name][0]) is not None


if "IPython" in sys.modules:  # in a notebook lists of messages are tables
    import_module("sessionstore.notebook.lists").show_lists()
