"""The engines of an `AgentDb`: which driver serves them, and what they are made with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sessionstore.errors import SessionStoreError
from sessionstore.sql.gate import Gate
from sessionstore.sql.sqlite_engine import SqliteFile, async_sqlite_engine
from sessionstore.sql.urls import (
    driver_of,
    engine_options,
    is_in_memory,
    no_driver,
    pool_size,
)

__all__ = [
    "async_engine",
    "blocking_engine",
    "gates_of",
    "require_driver",
    "with_driver",
    "without_pool",
]


def require_driver(url: URL) -> None:
    """Refuse a URL whose driver is not installed, or does not suit it.

    Raises:
        ImportError: It is not installed; the error says what to install.
        ArgumentError: SQLAlchemy can't make use of it.
        ValueError: It is an async driver for a database in memory.
    """
    dialect = url.get_dialect()
    try:
        dialect.import_dbapi()
    except ImportError as error:
        words = no_driver(url, is_async=dialect.is_async, plain=True)
        raise ImportError(words) from error
    if dialect.is_async and is_in_memory(url):
        raise ValueError("a database in memory has no async driver: use SqliteAgentDb()")


def with_driver(url: URL, *, is_async: bool) -> URL:
    """Give a URL with the driver for the sync or the async methods.

    Raises:
        SessionStoreError: None is installed.
    """
    driver = driver_of(url, is_async=is_async)
    if driver is None:
        raise SessionStoreError(no_driver(url, is_async=is_async))
    return url.set(drivername=driver)


def blocking_engine(url: URL, options: dict[str, Any]) -> Engine:
    """Make an engine for threads, for a server's database."""
    url = with_driver(url, is_async=False)
    return create_engine(url, **engine_options(url, options))


def async_engine(url: URL, options: dict[str, Any], file: SqliteFile) -> AsyncEngine:
    """Make an engine for an event loop.

    Args:
        url: The database.
        options: What the caller gave for the engine.
        file: How it is opened, where it is a file.
    """
    url = with_driver(url, is_async=True)
    if url.get_backend_name() == "sqlite":
        return async_sqlite_engine(url, options, file)
    try:
        return create_async_engine(url, **engine_options(url, options))
    except InvalidRequestError as error:
        raise SessionStoreError(no_driver(url, is_async=True)) from error


def without_pool(options: dict[str, Any]) -> dict[str, Any]:
    """Give the options of an engine that opens a connection for each use."""
    others = {
        name: value
        for name, value in options.items()
        if not name.startswith("pool") and name != "max_overflow"
    }
    return {**others, "poolclass": NullPool}


def gates_of(url: URL, options: dict[str, Any]) -> Callable[[], Gate] | None:
    """Give what makes the gates before the pools; ``None`` where their size is not known."""
    made = engine_options(url, options)
    size = pool_size(made)
    return None if size is None else partial(Gate, size, made["pool_timeout"])
