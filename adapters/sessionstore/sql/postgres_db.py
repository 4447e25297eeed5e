"""`PostgresAgentDb`: a PostgreSQL database, through psycopg 3."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from sqlalchemy import URL, Engine, create_engine
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from sessionstore._runtime.frames import hides_arguments
from sessionstore.sql.batch_members import ALONE
from sessionstore.sql.database import AgentDb
from sessionstore.sql.direct import Query, asent, sent
from sessionstore.sql.engines import Engines
from sessionstore.sql.loop_pool import LoopPool, opened_in_greenlet
from sessionstore.sql.options import require_libpq
from sessionstore.sql.requests import Work
from sessionstore.sql.secrets import Sealed
from sessionstore.sql.tables import DEFAULT_PREFIX
from sessionstore.sql.unsettled import UNSETTLED
from sessionstore.sql.urls import KEEPALIVES, engine_options, place_of, require_encoded, shown_url

__all__ = ["PostgresAgentDb"]

_PLAIN = {"max_overflow", "pool_reset_on_return", "pool_size", "pool_timeout"}
_FEW = 2  # where as many are under way, the next come in batches
_PSYCOPG = URL.create("postgresql+psycopg")


class PostgresAgentDb(AgentDb):
    """A PostgreSQL database through psycopg 3, sync and async; also behind PgBouncer.

    The database's encoding must be UTF8: another is refused at the first use.

    Example:
        >>> from sessionstore import PostgresAgentDb
        >>> PostgresAgentDb("postgresql://alice:secret@db.example/chat")
        PostgresAgentDb('postgresql+psycopg://db.example/chat')
        >>> PostgresAgentDb(host="db.example", dbname="chat", user="alice", password="secret")
        PostgresAgentDb('postgresql+psycopg://db.example/chat')

    Args:
        connection_string: A ``postgresql://`` URL or a string such as ``"host=… dbname=…"``,
            with whatever libpq knows in it; what it leaves out comes from ``PGHOST`` and the
            like.
        connect_timeout: How long to wait for a connection to one host, in seconds: 2 or more, in
            full ones; within the time of the call.
        statement_timeout: How long a call may take, in seconds, the wait for a connection, first
            use, its statements, answers that trickle and second tries included; ``None`` waits for
            good. Shortly before it is over, a statement is cancelled (with libpq 17 or later in
            time: an older one's request to cancel knows no timeout). Give a process that migrates
            large tables more.
        prepared_statements: Let the server prepare statements that come again and again: it would
            spend as long on planning them as on the rest. ``None`` does so on connections that go
            straight to the server; a pooler in between shows by the number that it gives to the
            session, which is not the server's. Behind PgBouncer ``True`` needs its version 1.21
            and ``max_prepared_statements``.
        schema: As for `AgentDb`.
        table_prefix: As for `AgentDb`.
        create_schema: As for `AgentDb`.
        engine_options: As for `AgentDb`.
        parameters: Further parameters of libpq, such as ``host``, ``dbname``, ``sslmode``.

    Raises:
        ValueError: The connection string, a timeout or the prefix is not usable, or libpq knows no
            such parameter. In a URL the user, the password and values are percent-encoded.
        ImportError: psycopg is not installed.
    """

    _is_in_time = True

    @hides_arguments
    def __init__(
        self,
        connection_string: str = "",
        *,
        connect_timeout: float = 5.0,
        statement_timeout: float | None = 10.0,
        prepared_statements: bool | None = None,
        schema: str | None = None,
        table_prefix: str = DEFAULT_PREFIX,
        create_schema: bool = True,
        engine_options: dict[str, Any] | None = None,
        **parameters: Any,
    ) -> None:
        """Name the database; nothing is opened yet."""
        from sessionstore.sql import connecting  # noqa: PLC0415 - the other databases need no psycopg

        if not isinstance(connection_string, str):
            kind = type(connection_string).__name__
            raise TypeError(f"connection_string must be a string, not {kind}")
        _require_seconds("connect_timeout", connect_timeout)
        if statement_timeout is not None:
            _require_seconds("statement_timeout", statement_timeout)
        for given in (connection_string, parameters.get("dbname")):
            require_encoded(str(given))
        require_libpq({"connection_string": connection_string, **parameters})
        named = {
            **KEEPALIVES,
            "connect_timeout": math.ceil(connect_timeout),
            **connecting.parameters(connection_string, parameters),
            "client_encoding": "UTF8",  # a database with another one is refused at the first use
            "prepare_threshold": connecting.PREPARED_AFTER if prepared_statements else None,
            "autocommit": True,  # as the operations that are one statement want it
        }
        require_libpq(named)
        self._parameters = Sealed(named)
        options = engine_options or {}
        wait = options.get("pool_timeout", connect_timeout)
        shortest = wait if statement_timeout is None else min(wait, statement_timeout)
        waiting = {} if "poolclass" in options else {"pool_timeout": shortest}
        shown = shown_url(named)
        place = place_of(shown.set(username=str(named.get("user") or "")))
        self._connecting = connecting.Connecting(
            self._parameters, statement_timeout, prepared_statements is None, place
        )
        super().__init__(
            shown,
            schema=schema,
            table_prefix=table_prefix,
            create_schema=create_schema,
            # Where all is in autocommit, and each transaction ended here, there is none to undo.
            **{"pool_reset_on_return": None, **options, **waiting},
        )
        self._timeout, self._place = statement_timeout, place

    async def _apassed(self, engines: Engines, work: Work[Any]) -> object:
        """Carry out some work once; in a crowd, together with other work."""
        passed, mine = super()._apassed, engines.of_running_loop()
        if work.batchable and mine and (gate := mine.gate):
            batches = mine.batches
            if gate.used >= _FEW or batches.are_busy():
                reply = await batches.join(work, work.batchable, partial(passed, engines))
                if reply is not ALONE:
                    return reply
        return await passed(engines, work)

    def _carried(self, engine: Engine, work: Work[Any]) -> object:
        """Carry out some work; a single statement by psycopg itself, where nobody listens."""
        if isinstance(work.run, Query) and self._place not in UNSETTLED:
            rows = sent(engine, work.run, work.repeatable)
            if rows is not None:
                return rows
        return super()._carried(engine, work)

    async def _acarried(self, engine: AsyncEngine, work: Work[Any]) -> object:
        if isinstance(work.run, Query) and self._place not in UNSETTLED:
            rows = await asent(engine.sync_engine, work.run, work.repeatable)
            if rows is not None:
                return rows
        return await super()._acarried(engine, work)

    def _make_engine(self, options: dict[str, Any]) -> Engine:
        creator = self._connecting.connect
        return create_engine(_PSYCOPG, **engine_options(_PSYCOPG, options), creator=creator)

    def _make_async_engine(self, options: dict[str, Any]) -> AsyncEngine:
        made = engine_options(_PSYCOPG, options)
        if options.keys() <= _PLAIN and not (made["max_overflow"] or made["pool_reset_on_return"]):
            # The gate before it bounds how many there are: so the pool itself has none to wait for.
            made |= {"poolclass": LoopPool, "max_overflow": -1}
        creator = opened_in_greenlet(self._connecting.aconnect)
        return create_async_engine(_PSYCOPG, **made, async_creator=creator)


def _require_seconds(name: str, value: object) -> None:
    if not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ValueError(f"{name} must be a number of seconds above 0")
