"""psycopg connections that give up on a statement in time, whatever the server does.

The server's own ``statement_timeout`` would be state of the session, which PgBouncer hands on to
others, and a server that hangs keeps no time at all. So the client does: past the timeout it asks
for the statement to be cancelled, and leaves a server that does not even answer that.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Generator, Iterable
from difflib import get_close_matches
from functools import partial
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

from sessionstore._runtime.call_deadline import deadline_after
from sessionstore.arguments.urls import shown_option
from sessionstore.sql.in_time import TOO_LATE, TooLittleTimeError, in_time, left
from sessionstore.sql.secrets import Sealed
from sessionstore.sql.unsettled import WHO, Backend, Place, note

__all__ = [
    "PREPARED_AFTER",
    "AsyncDeadlineConnection",
    "Connecting",
    "DeadlineConnection",
    "parameters",
]

T = TypeVar("T")

PREPARED_AFTER = 5
"""How often a connection has sent a statement before it is prepared: one seldom used never is."""
_GRACE = 1.0  # seconds at most for the server to cancel a statement, and as long to say so
_LOOKS = 0.1  # seconds between two looks at the clock, at most
_LEAST = 0.005
_FAIR = 0.5  # of the time of a call, to open a connection in: with less nobody is to blame
_NOTHING_READY: Any = 0
_UNDER_WAY = (psycopg.pq.TransactionStatus.ACTIVE, psycopg.pq.TransactionStatus.UNKNOWN)


class _TooSlowError(psycopg.OperationalError):
    """The time is up; the statement still runs."""


def _require_uninterrupted(slow: _TooSlowError, pgconn: Any) -> None:
    """Raise what a caller was interrupted by: psycopg 3.2 waits for the server before it does."""
    cause = slow.__context__
    if isinstance(cause, (asyncio.CancelledError, KeyboardInterrupt)):
        pgconn.finish()
        raise cause


class _Clock:
    """How long one exchange with the server may take; the last part of it is for cancelling.

    Attributes:
        statement_timeout: Seconds; ``None`` waits for as long as the call may take.
        place: What the database is known by here.
        backend: The server's process for this connection, where that is known.
        end: When the exchange that is under way must be over.
        limit: When it is to be cancelled.
    """

    statement_timeout: float | None = None
    place: Place = ()
    backend: Backend | None = None
    end: float = math.inf
    limit: float = math.inf

    def begin(self) -> float:
        """Begin an exchange, and tell how often to look at the clock."""
        end = deadline_after(self.statement_timeout)
        if end is None:
            self.end = self.limit = math.inf
            return _LOOKS
        left = max(0.0, end - time.monotonic())
        self.end, self.limit = end, end - min(_GRACE, left / 4)
        return max(_LEAST, min(_LOOKS, left / 10))

    def for_cancelling(self, seconds: float) -> float:
        """Give how long it may take to cancel, and let what is under way wait no longer."""
        now = time.monotonic()
        self.limit = min(self.end, now + 2 * _GRACE)
        return max(_LEAST, min(seconds, _GRACE, self.end - now))

    def note_unless_settled(self, pgconn: Any) -> None:
        """Remember a statement of which the server has not said what became of it."""
        if self.backend is not None and pgconn.transaction_status in _UNDER_WAY:
            note(self.place, self.backend)


class DeadlineConnection(psycopg.Connection[Any]):
    """A blocking connection whose every statement ends in time.

    Attributes:
        clock: How long it may take.
    """

    clock: _Clock = _Clock()

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
        clock = self.clock
        interval = clock.begin()
        if not args:
            kwargs.setdefault("interval", interval)
        try:
            try:
                return super().wait(_within(clock, gen), *args, **kwargs)
            except _TooSlowError as slow:
                _require_uninterrupted(slow, self.pgconn)
            try:
                self.cancel_safe()
                return super().wait(_within(clock, gen, begun=True), *args, **kwargs)
            except psycopg.errors.QueryCanceled:
                raise
            except psycopg.Error:
                self.pgconn.finish()
                raise psycopg.OperationalError(_SILENT) from None
        except BaseException:
            clock.note_unless_settled(self.pgconn)
            raise

    def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Ask for the statement to be cancelled, and let it wait for that no longer than it may.

        Args:
            timeout: Seconds at most.
        """
        super().cancel_safe(timeout=self.clock.for_cancelling(timeout))

    def __del__(self, *_: Any) -> None:
        """End without psycopg's warning: who was interrupted while it opened leaves it so.

        Its end closes it in any case.
        """


class AsyncDeadlineConnection(psycopg.AsyncConnection[Any]):
    """The asyncio twin of `DeadlineConnection`.

    Attributes:
        clock: How long it may take.
    """

    clock: _Clock = _Clock()

    async def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Async twin of `DeadlineConnection.wait`."""
        clock = self.clock
        interval = clock.begin()
        if not args:
            kwargs.setdefault("interval", interval)
        try:
            try:
                return await super().wait(_within(clock, gen), *args, **kwargs)
            except _TooSlowError as slow:
                _require_uninterrupted(slow, self.pgconn)
            try:
                await self.cancel_safe()
                return await super().wait(_within(clock, gen, begun=True), *args, **kwargs)
            except psycopg.errors.QueryCanceled:
                raise
            except psycopg.Error:
                self.pgconn.finish()
                raise psycopg.OperationalError(_SILENT) from None
        except BaseException:
            clock.note_unless_settled(self.pgconn)
            raise

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:
        """Async twin of `DeadlineConnection.cancel_safe`."""
        await super().cancel_safe(timeout=self.clock.for_cancelling(timeout))

    def __del__(self, *_: Any) -> None:
        """End as `DeadlineConnection` does."""


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
    _require_known({*further})
    _require_known(named - {"ssl"}, named)  # ssl=true is JDBC's, which libpq takes
    try:
        return dict(conninfo.conninfo_to_dict(string, **further))
    except psycopg.ProgrammingError:
        # The error may quote a password.
        raise ValueError(_UNREADABLE) from None


class Connecting:
    """What a connection to one database is opened with.

    Args:
        parameters: What psycopg's ``connect`` takes.
        statement_timeout: Seconds; ``None`` waits for good.
        prepares: Prepare statements where no pooler is between here and the server.
        place: What the database is known by here.
    """

    def __init__(
        self,
        parameters: Sealed,
        statement_timeout: float | None,
        prepares: bool,
        place: Place,
    ) -> None:
        self._parameters = parameters
        self._timeout = statement_timeout
        self._prepares = prepares
        self._place = place

    def connect(self) -> DeadlineConnection:
        """Open a blocking connection, within the time of the call.

        Returns:
            The connection.

        Raises:
            psycopg.Error: It is refused, or takes too long.
        """
        opening, end = partial(_open, self._parameters), deadline_after(self._timeout)
        connection = in_time(opening, end, partial(self._too_late, left(end)))
        try:
            self._prepare(connection)
            self._identify(connection, connection.execute(WHO).fetchone())
        except BaseException:
            connection.close()
            raise
        return connection

    async def aconnect(self) -> AsyncDeadlineConnection:
        """Async twin of `connect`."""
        given = left(deadline_after(self._timeout))
        try:
            connection = await asyncio.wait_for(_aopen(self._parameters), given)
        except asyncio.TimeoutError:
            raise self._too_late(given, TOO_LATE) from None
        try:
            self._prepare(connection)
            self._identify(connection, await (await connection.execute(WHO)).fetchone())
        except BaseException:
            await connection.close()
            raise
        return connection

    def _too_late(self, given: float | None, words: str) -> Exception:
        """Make the error of a connection that was not there in time.

        Args:
            given: How long there was to open it, in seconds: what the call had left.
            words: What it says where that was long enough to blame the database.
        """
        if given is not None and self._timeout is not None and given < self._timeout * _FAIR:
            return TooLittleTimeError("too little of the call's time was left to connect in")
        return psycopg.OperationalError(words)

    def _prepare(self, connection: DeadlineConnection | AsyncDeadlineConnection) -> None:
        connection.clock = clock = _Clock()
        clock.statement_timeout, clock.place = self._timeout, self._place
        connection.adapters.register_dumper(list, ListBinaryDumper)

    def _identify(
        self, connection: DeadlineConnection | AsyncDeadlineConnection, process: Any
    ) -> None:
        """Note the server's process, where it is the one that the connection has the number of.

        A pooler gives a number of its own, as what is asked to be cancelled by it is with whatever
        process then has the work. Between its clients a process must not keep what one has
        prepared, and may at any time work for another.
        """
        if process and process[0] == connection.info.backend_pid:
            connection.clock.backend = Backend(*process)
            if self._prepares:
                connection.prepare_threshold = PREPARED_AFTER


def _open(parameters: Sealed) -> DeadlineConnection:
    return DeadlineConnection.connect(**parameters.opened())


async def _aopen(parameters: Sealed) -> AsyncDeadlineConnection:
    return await AsyncDeadlineConnection.connect(**parameters.opened())


def _require_known(names: set[str], query: Iterable[str] = ()) -> None:
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in sorted(names - known):
        near = get_close_matches(name, known | _OURS, 1)
        hint = f": is it {near[0]}?" if near else ""
        raise ValueError(f"PostgreSQL knows no parameter {shown_option(name, query)}{hint}")


_A_URL = re.compile(r"\w+://")
_OURS = {"create_schema", "engine_options", "schema", "statement_timeout", "table_prefix"}
_UNREADABLE = (
    "this is not a connection string or parameter of PostgreSQL; in a URL a password is written "
    "as urllib.parse.quote(password, safe='') does"
)
_SILENT = "statement timeout expired, and the server did not answer the request to cancel"


def _within(
    clock: _Clock, gen: Generator[Any, Any, T], *, begun: bool = False
) -> Generator[Any, Any, T]:
    """Pass an exchange through until its time is up, be the server silent or slow in what it says.

    psycopg looks in whenever something is ready, and after each interval.
    """
    try:
        wanted = gen.send(_NOTHING_READY if begun else None)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > clock.limit:
                raise _TooSlowError
            wanted = gen.send(ready)
            if time.monotonic() > clock.limit:
                raise _TooSlowError
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
