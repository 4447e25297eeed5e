"""The `AgentDb` that suits a URL or an engine best."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from sessionstore._runtime.frames import hides_arguments
from sessionstore.arguments import checked_seconds
from sessionstore.sql.database import AgentDb
from sessionstore.sql.postgres_db import PostgresAgentDb
from sessionstore.sql.urls import url_of

__all__ = ["open_db"]

_LEAST_CONNECT = 2.0  # seconds: libpq waits no shorter


@hides_arguments
def open_db(
    database: AgentDb | str | URL | Engine | AsyncEngine, timeout: float | None = None
) -> AgentDb:
    """Make the `AgentDb` that suits a URL or an engine best.

    Args:
        database: As `AgentDb` takes it; or one that is made already.
        timeout: How long the database may take to be reached, and then to answer, in seconds;
            ``None`` for what is usual with it.

    Returns:
        A `PostgresAgentDb` for a PostgreSQL URL that leaves the driver open or names psycopg.

    Raises:
        ValueError: The URL is not usable, or can't be given a timeout.
        ImportError: The URL's driver is not installed.
    """
    if isinstance(database, (AgentDb, Engine, AsyncEngine)):
        if timeout is not None:
            raise ValueError("timeout is for a URL: give the AgentDb or the engine its own")
        return database if isinstance(database, AgentDb) else AgentDb(database)
    url = url_of(database)
    if timeout is not None:
        checked_seconds(timeout)
    if url.drivername == "postgresql+psycopg":
        # What SQLAlchemy writes is not always what libpq reads: a blank stays one.
        written = url.render_as_string(hide_password=False).replace(" ", "%20")
        waits: dict[str, Any] = {}
        if timeout is not None:
            waits = {"connect_timeout": max(_LEAST_CONNECT, timeout), "statement_timeout": timeout}
        return PostgresAgentDb(database if isinstance(database, str) else written, **waits)
    if timeout is None:
        return AgentDb(url)
    if url.get_backend_name() == "sqlite":
        return AgentDb(url, connect_args={"timeout": timeout})
    raise ValueError(
        f"timeout is not known for {url.drivername[:40]}: use AgentDb(url, connect_args=...) "
        "with what the driver calls it"
    )
