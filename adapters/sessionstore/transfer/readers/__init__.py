"""Readers of what other libraries have stored: a session at a time, without those libraries.

Each module but those that they share is a format, with one function ``read``. It opens what it
reads for reading only, holds one session in memory, and gives what it can't read as `Unreadable`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from sessionstore.transfer.readers.unreadable import SourceError, Unreadable

if TYPE_CHECKING:
    from sessionstore.transfer.readers.building import Reading

__all__ = ["READERS", "SourceError", "Unreadable"]


def _read(module: str, place: Any, **options: Any) -> Reading:
    # Imported at its first use: each needs another library.
    reading: Reading = import_module(f"{__name__}.{module}").read(place, **options)
    return reading


READERS: dict[str, Callable[..., Reading]] = {
    "chatgpt": partial(_read, "chatgpt"),
    "langchain-postgres": partial(_read, "langchain_postgres"),
    "langchain-redis": partial(_read, "langchain_redis"),
    "langchain-redis-community": partial(_read, "langchain_redis_community"),
    "langchain-sql": partial(_read, "langchain_sql"),
    "langgraph-postgres": partial(_read, "langgraph_postgres"),
    "langgraph-sqlite": partial(_read, "langgraph_sqlite"),
    "llama-index-json": partial(_read, "llama_index_json"),
    "llama-index-postgres": partial(_read, "llama_index_postgres"),
    "llama-index-redis": partial(_read, "llama_index_redis"),
    "llama-index-sql": partial(_read, "llama_index_sql"),
    "openai-agents": partial(_read, "openai_agents"),
}
"""What reads each format: called with a URL or a path, and options by name, it gives sessions.

Every one takes ``user_id`` and ``agent_id``; its module says what else.
"""
