"""Opening psycopg's connections within the time of a call, from what names a database."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from difflib import get_close_matches
from functools import partial
from typing import Any
from urllib.parse import unquote

from sessionstore.sql.deadline import (  # first, for its hint on what to install
    AsyncDeadlineConnection,
    Clock,
    DeadlineConnection,
)

import psycopg  # isort: skip
from psycopg import conninfo  # isort: skip
from psycopg.types.array import ListBinaryDumper  # isort: skip

from sessionstore.arguments.urls import shown_option
from sessionstore.deadline import deadline_after
from sessionstore.sql.in_time import TOO_LATE, TooLittleTimeError, in_time, left
from sessionstore.sql.secrets import Sealed
from sessionstore.sql.unsettled import WHO, Backend, Place

__all__ = ["PREPARED_AFTER", "Connecting", "parameters"]

PREPARED_AFTER = 5
"""How often a connection has sent a statement before it is prepared: one seldom used never is."""
_FAIR = 0.5  # of the time of a call, to open a connection in: with less nobody is to blame


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
        connection.clock = clock = Clock()
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
