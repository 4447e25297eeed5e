"""psycopg connections that give up on a statement in time, whatever the server does.

The server's own ``statement_timeout`` would be state of the session, which PgBouncer hands on to
others, and a server that hangs keeps no time at all. So the client does: past the timeout it asks
for the statement to be cancelled, and leaves a server that does not even answer that.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Generator
from difflib import get_close_matches
from typing import Any, TypeVar
from urllib.parse import unquote

try:
    import psycopg
    from psycopg import conninfo
    from psycopg.types.array import ListBinaryDumper
except ImportError as _error:
    raise ImportError(
        "PostgresAgentDb needs the postgres extra: pip install 'sessionstore[postgres]'"
    ) from _error

__all__ = [
    "PREPARED_AFTER",
    "AsyncDeadlineConnection",
    "DeadlineConnection",
    "async_connector",
    "connector",
    "parameters",
]

T = TypeVar("T")

PREPARED_AFTER = 5
"""How often a connection has sent a statement before it is prepared: one seldom used never is."""
_GRACE = 1.0  # seconds for the server to cancel, and as long for it to say so
_NOTHING_READY: Any = 0


class _TooSlowError(psycopg.OperationalError):
    """The time is up; the statement still runs."""


def _require_uninterrupted(slow: _TooSlowError, pgconn: Any) -> None:
    """Raise what a caller was interrupted by: psycopg 3.2 waits for the server before it does."""
    cause = slow.__context__
    if isinstance(cause, (asyncio.CancelledError, KeyboardInterrupt)):
        pgconn.finish()
        raise cause


class DeadlineConnection(psycopg.Connection[Any]):
    """A blocking connection whose every statement ends within `statement_timeout`.

    Attributes:
        statement_timeout: Seconds; ``None`` waits for good.
    """

    statement_timeout: float | None = None

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Wait for an exchange with the server to end, as psycopg asks for it.

        Args:
            gen: The exchange.
            args: As psycopg has them.
            kwargs: As psycopg has them.

        Returns:
            What the exchange gave.

        Raises:
            psycopg.errors.QueryCanceled: It took too long, and the server ended it.
            psycopg.OperationalError: It took too long, and the server did not answer.
        """
        try:
            return super().wait(_within(self.statement_timeout, gen), *args, **kwargs)
        except _TooSlowError as slow:
            _require_uninterrupted(slow, self.pgconn)
        try:
            self.cancel_safe(timeout=_GRACE)
            return super().wait(_within(_GRACE, gen, begun=True), *args, **kwargs)
        except psycopg.errors.QueryCanceled:
            raise
        except psycopg.Error:
            self.pgconn.finish()
            raise psycopg.OperationalError(_SILENT) from None


class AsyncDeadlineConnection(psycopg.AsyncConnection[Any]):
    """The asyncio twin of `DeadlineConnection`.

    Attributes:
        statement_timeout: Seconds; ``None`` waits for good.
    """

    statement_timeout: float | None = None

    async def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Async twin of `DeadlineConnection.wait`."""
        try:
            return await super().wait(_within(self.statement_timeout, gen), *args, **kwargs)
        except _TooSlowError as slow:
            _require_uninterrupted(slow, self.pgconn)
        try:
            await self.cancel_safe(timeout=_GRACE)
            return await super().wait(_within(_GRACE, gen, begun=True), *args, **kwargs)
        except psycopg.errors.QueryCanceled:
            raise
        except psycopg.Error:
            self.pgconn.finish()
            raise psycopg.OperationalError(_SILENT) from None


def parameters(connection_string: str, further: dict[str, Any]) -> dict[str, Any]:
    """Read what names a database, in any of the forms that libpq knows.

    Args:
        connection_string: A URL or a ``"name=value"`` string; may be empty.
        further: More parameters, which count where both name one.

    Returns:
        The parameters by name.

    Raises:
        ValueError: libpq can't read them, or does not know one.
    """
    string = re.sub(r"^(\w+)\+\w+://", r"\1://", connection_string)
    query = string.partition("?")[2] if _A_URL.match(string) else ""
    named = {unquote(option.partition("=")[0]) for option in query.split("&") if option}
    _require_known({*further} | (named - {"ssl"}))  # ssl=true is JDBC's, which libpq takes
    try:
        return dict(conninfo.conninfo_to_dict(string, **further))
    except psycopg.ProgrammingError:
        # The error may quote a password.
        raise ValueError(_UNREADABLE) from None


def connector(
    parameters: dict[str, Any], statement_timeout: float | None, prepares: bool
) -> Callable[[], DeadlineConnection]:
    """Make what opens a blocking connection.

    Args:
        parameters: What psycopg's ``connect`` takes.
        statement_timeout: Seconds; ``None`` waits for good.
        prepares: Prepare statements where no pooler is between here and the server.

    Returns:
        A function that opens one.
    """

    def connect() -> DeadlineConnection:
        connection = DeadlineConnection.connect(**parameters)
        connection.statement_timeout = statement_timeout
        connection.adapters.register_dumper(list, ListBinaryDumper)
        if prepares:
            try:
                row = connection.execute(_WHO).fetchone()
            except BaseException:
                connection.close()
                raise
            _prepare_if(connection, row)
        return connection

    return connect


def async_connector(
    parameters: dict[str, Any], statement_timeout: float | None, prepares: bool
) -> Callable[[], Awaitable[AsyncDeadlineConnection]]:
    """Make what opens an asyncio connection: the twin of `connector`.

    Args:
        parameters: What psycopg's ``connect`` takes.
        statement_timeout: Seconds; ``None`` waits for good.
        prepares: Prepare statements where no pooler is between here and the server.

    Returns:
        A function that opens one.
    """

    async def connect() -> AsyncDeadlineConnection:
        connection = await AsyncDeadlineConnection.connect(**parameters)
        connection.statement_timeout = statement_timeout
        connection.adapters.register_dumper(list, ListBinaryDumper)
        if prepares:
            try:
                row = await (await connection.execute(_WHO)).fetchone()
            except BaseException:
                await connection.close()
                raise
            _prepare_if(connection, row)
        return connection

    return connect


_WHO = "SELECT pg_backend_pid()"


def _prepare_if(connection: psycopg.BaseConnection[Any], told: Any) -> None:
    """Prepare statements where the server's process is the one that the connection was told of.

    A pooler gives a number of its own, as what is asked to be cancelled by it is with whatever
    process then has the work. Between its clients a process must not keep what one has prepared.
    """
    if told == (connection.info.backend_pid,):
        connection.prepare_threshold = PREPARED_AFTER


def _require_known(names: set[str]) -> None:
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in sorted(names - known):
        near = get_close_matches(name, known | _OURS, 1)
        hint = f": is it {near[0]}?" if near else ""
        raise ValueError(f"PostgreSQL knows no parameter {name!r}{hint}")


_A_URL = re.compile(r"\w+://")
_OURS = {"create_schema", "engine_options", "schema", "statement_timeout", "table_prefix"}
_UNREADABLE = (
    "this is not a connection string or parameter of PostgreSQL; in a URL a password is written "
    "as urllib.parse.quote(password, safe='') does"
)
_SILENT = "statement timeout expired, and the server did not answer the request to cancel"


def _within(
    seconds: float | None, gen: Generator[Any, Any, T], *, begun: bool = False
) -> Generator[Any, Any, T]:
    """Pass an exchange through until its time is up; psycopg looks in every 0.1 seconds."""
    deadline = float("inf") if seconds is None else time.monotonic() + seconds
    try:
        wanted = gen.send(_NOTHING_READY if begun else None)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _TooSlowError
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
