"""The reference names all that is public: every name of the packages, every error."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from inspect import signature
from types import ModuleType
from typing import Any

import pytest
from pages import DOCS

from langchain_sessionstore import (
    NothingToResumeError,
    SessionSaveError,
    TurnSupersededError,
)
from sessionstore import (
    FallbackSessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SQLiteSessionStore,
    errors,
)
from sessionstore.arguments import MAX_DEPTH, MAX_ID_LENGTH
from sessionstore.fallback import circuits, queue
from sessionstore.operations import ListSessions
from sessionstore.redis import clients, direct, making
from sessionstore.rows.sessions import PRUNE_MESSAGES, PRUNE_SESSIONS
from sessionstore.sql import urls
from sessionstore.sqlite import connections
from sessionstore.tracing import causes
from sessionstore.window import tokens

API = DOCS / "reference" / "api"
PAGES = {
    "sessionstore": "*",  # its names are told on the pages of the folders that hold them
    "sessionstore.operations": "operations",
    "sessionstore.errors": "errors",
    "sessionstore.sqlite": "sqlite",
    "sessionstore.redis": "redis",
    "sessionstore.sql": "sql",
    "sessionstore.fallback": "fallback",
    "sessionstore.encryption": "encryption",
    "sessionstore.transfer": "transfer",
    "sessionstore.plots": "plots",
    "sessionstore.flow": "for_stores",
    "sessionstore.testing": "testing",
    "langchain_sessionstore": "langchain_sessionstore",
    "langchain_sessionstore.testing": "langchain_sessionstore",
    "langgraph_sessionstore": "langgraph_sessionstore",
    "llama_index_sessionstore": "llama_index_sessionstore",
    "openai_agents_sessionstore": "openai_agents_sessionstore",
}
DIRECTIVE = re.compile(r"^\.\. (?:auto(\w+)|(currentmodule)):: (\S+)", re.MULTILINE)


def documented(page: str) -> set[int]:
    """Give what a page has an entry for, by its identity."""
    found: set[int] = set()
    for path in API.glob(f"{page}.md"):
        module: ModuleType | None = None
        for kind, current, name in DIRECTIVE.findall(path.read_text(encoding="utf-8")):
            if current:
                module = import_module(name)
            elif kind == "module":
                whole = import_module(name)
                found |= {id(getattr(whole, each)) for each in whole.__all__}
            else:
                assert module is not None
                found.add(id(getattr(module, name)))
    return found


@pytest.mark.parametrize("package", PAGES)
def test_every_public_name_has_an_entry(package: str) -> None:
    module = import_module(package)
    there = documented(PAGES[package])
    assert not [name for name in module.__all__ if id(getattr(module, name)) not in there]


def test_every_error_has_an_entry_that_says_what_to_do() -> None:
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    entries = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    own = (NothingToResumeError, SessionSaveError, TurnSupersededError)
    of_langchain = {error.__name__ for error in own}
    assert entries.keys() == {*errors.__all__, *of_langchain}
    assert not [name for name, text in entries.items() if "**What to do.**" not in text]
    assert set(re.findall(r"^ *- \[`(\w+)`\]\(#\w+\): ", page, re.MULTILINE)) == entries.keys()


def default(function: Callable[..., Any], name: str) -> Any:
    return signature(function).parameters[name].default


LIMITS = {
    "id of a session, message, agent or user": MAX_ID_LENGTH,
    "lists and objects within one another, in a message or in metadata": MAX_DEPTH,
    "`limit` of `list_sessions`": ListSessions().limit,
    "SQLite |": SQLiteSessionStore().bounds.message_bytes,
    "Redis | 5": RedisSessionStore().bounds.messages,
    "Redis | 500,000": RedisSessionStore().bounds.write_bytes,
    "SQLite | `timeout`": default(SQLiteSessionStore, "timeout"),
    "Redis | `timeout`": default(RedisSessionStore, "timeout"),
    "PostgreSQL, psycopg | `statement_timeout`": default(PostgresAgentDb, "statement_timeout"),
    "PostgreSQL, psycopg | `connect_timeout`": default(PostgresAgentDb, "connect_timeout"),
    "SQLite, one file in one process": connections._MOST_READERS,
    "SQLite, one file": connections._MOST_IDLE,
    "Redis, one event loop": clients._AT_ONCE,
    "Redis, threads": making._MANY,
    "SQL, one `AgentDb`": urls._POOL_SIZE,
    "idle time after which a connection is tested": direct.FORGOTTEN,
    "what one transaction of `prune_expired` deletes": PRUNE_SESSIONS,
    "what one transaction of": PRUNE_MESSAGES,
    "`max_pending`": default(FallbackSessionStore, "max_pending"),
    "`max_sessions`": default(FallbackSessionStore, "max_sessions"),
    "`max_messages`: messages": default(FallbackSessionStore, "max_messages"),
    "`retry_after`": default(FallbackSessionStore, "retry_after"),
    "`retry_cap`": default(FallbackSessionStore, "retry_cap"),
    "sessions that are left alone": circuits._MOST,
    "what one request replays": queue._BATCH_BYTES,
    "tokens of an image": tokens._TOKENS_OF_MEDIA,
    "spans of a session": causes._MOST_SPANS,
    "sessions of which such spans": causes._MOST_CAUSES,
}


@pytest.mark.parametrize("what", LIMITS)
def test_a_limit_is_the_one_that_the_code_has(what: str) -> None:
    page = (DOCS / "reference" / "limits.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if line.startswith(f"| {what}")][:1]
    assert re.search(rf"\b{LIMITS[what]:,.0f}\b", row), row
