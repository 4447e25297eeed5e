"""`RedisSessionStore`: sessions in Redis or Valkey: one machine, Sentinel, or Cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

try:
    import redis as _driver  # noqa: F401 - all other modules here need it
except ImportError as _missing:
    raise ImportError(
        "RedisSessionStore needs the redis extra: pip install 'sessionstore[redis]'"
    ) from _missing

from sessionstore._runtime.forks import at_fork, left_to_parent
from sessionstore._runtime.frames import hides_arguments
from sessionstore._runtime.settling import to_its_end
from sessionstore.arguments import NO_LIMIT, checked_seconds
from sessionstore.bounds import StoreBounds
from sessionstore.deadline import deadline_after, until, within
from sessionstore.errors import InvalidSessionError, SessionStoreError
from sessionstore.flow import aplay, play
from sessionstore.operations import (
    Fence,
    Fork,
    ListSessions,
    Operation,
    Ping,
    Prune,
    Reseal,
    Scrub,
    Setup,
    Several,
)
from sessionstore.redis.clients import Clients
from sessionstore.redis.doubts import DOUBTS
from sessionstore.redis.errors import TRANSLATED
from sessionstore.redis.exchange import Exchange, ping, set_up
from sessionstore.redis.forking import fork
from sessionstore.redis.keys import Layout, encoded_prefix
from sessionstore.redis.leasing import LEASES, change_lease, check_fence
from sessionstore.redis.listing import list_sessions, prune
from sessionstore.redis.reading import READS, read
from sessionstore.redis.requests import RedisFlow
from sessionstore.redis.resealing import reseal
from sessionstore.redis.scrubbing import scrub
from sessionstore.redis.settings import settings_of_client, settings_of_url
from sessionstore.redis.several import several, unknown
from sessionstore.redis.writing import BOUNDS, WRITES, write
from sessionstore.runner import counted
from sessionstore.stats import StoreConnections
from sessionstore.store import SessionStore

if TYPE_CHECKING:
    from redis import Redis, RedisCluster
    from redis.asyncio import Redis as AsyncRedis
    from redis.asyncio import RedisCluster as AsyncRedisCluster
    from redis.asyncio.multidb.client import MultiDBClient as AsyncMultiDBClient
    from redis.multidb.client import MultiDBClient

    Client: TypeAlias = (
        Redis | RedisCluster | MultiDBClient | AsyncRedis | AsyncRedisCluster | AsyncMultiDBClient
    )

__all__ = ["RedisSessionStore"]

T = TypeVar("T")

_LONGEST_TTL = 10**10

_MakeFlow: TypeAlias = Callable[[Exchange, Any], RedisFlow[Any]]

_OPERATIONS: dict[type, _MakeFlow] = {
    **dict.fromkeys(READS, read),
    **dict.fromkeys(WRITES, write),
    **dict.fromkeys(LEASES, change_lease),
    Fence: check_fence,
    Fork: fork,
    Reseal: reseal,
    ListSessions: list_sessions,
    Ping: ping,
    Prune: prune,
    Scrub: scrub,
    Setup: set_up,
    Several: several,
}


class RedisSessionStore(SessionStore):
    """Sessions in Redis 6.2 or later, or Valkey 7.2 or later: no modules, no configuration.

    Every operation is one script, or a transaction, and one round trip. Any number of threads,
    event loops and processes may use a store at once: all threads share one client, each event loop
    has one of its own, closed with the loop, and a store made before a fork may be used after it.
    Nothing is connected before the first use. The first write asks, in a round trip more, whether
    the user may run all that the store needs: what its ACL lacks is a `SessionStoreError` that
    names it, before anything is written.

    Calls on one event loop that wait at the same moment share a connection (on clients of ours;
    Python 3.11 and redis-py 8, or later), under Cluster those for the same node: up to 32 go
    together, and wait for no others. A call alone goes at once; whole histories, reads of more than
    100 messages, what was large when it was last read, large writes and lists go by themselves.
    Each is carried out, tried again and cancelled by itself, in its own time.

    What was acknowledged is as safe as this Redis keeps it. With ``appendfsync always`` it
    survives a crash of the machine; with ``everysec``, the append-only file's default, up to a
    second of it may be lost; without that file, all since the last snapshot. A replica is behind
    its master: a fail-over loses what was not there yet. ``wait_replicas`` narrows that (a write
    returns when so many replicas have it), but a fail-over may still choose another replica.

    When a connection breaks, the operation is tried again once, and a write is still done once,
    also when a caller's client sends it again by itself: for a minute (or for ``ttl_seconds``,
    where that is less) a session's newest 64 writes are known by name, also when it was deleted or
    made again meanwhile. Where others came between, what a second try gives of the session may have
    theirs in it, but names the version of its own; an `update` of what was deleted since raises
    `SessionNotFoundError`. Where more came between, `StoreUnavailableError` says that the outcome
    can't be known; only a client's own retries can't be told from a first try then. What remembers
    those writes has a TTL: a server that evicts under a ``volatile-`` policy may take it early, and
    then a second try is a first one, which adds no message twice, but may do another write twice.

    A call that was cancelled or interrupted is settled when it comes back: it took effect, or it
    never will. Where no answer came (also of a call that raised `StoreTimeoutError`), the write is
    noted in the session's record as given up, at once where there is time left, and else before
    this process reads or writes the session again; arriving later, it does nothing. That holds
    for a minute: what something between held back for longer is not recognised.

    A connection that waited for 15 seconds first shows, by a ``PING`` of half a second at most,
    that it still leads somewhere (not under Cluster; sync, and async on Python 3.11 or later);
    where one proves to be dead, those that waited for as long are closed, too. `ping` opens a
    connection of its own (not under Cluster), so that it reports the server and not a full pool.

    Under Cluster a session is in one slot, and the lists of sessions are in others. They are
    written after the session, in a second round trip; if that fails, the session is written but
    may be missing from lists until its next write (trying again is one), and the error is
    raised. Lists are read in two round trips, and leave out and repair what is gone by then: also
    what a delete left there whose answer came only to a second try. While a slot moves to
    another node key by key, its sessions raise `StoreUnavailableError`.

    Several operations on one session, as a list for `run`, are one script, too: where one of them
    fails, it undoes what those before it wrote. Sent a second time, such a list is done once; what
    it reads then has all in it that was written meanwhile, its own writes, too. Where one of its
    operations can't be answered any more (what it reads was deleted by the list itself, say), or
    where it has more than 64 writes, `StoreUnavailableError` says that the outcome can't be known.
    Whether a message that it reads can be decoded is found out when all is done.

    A lease is one key more of its session, by the server's clock. It is not deleted with the
    session, and goes a day after the lease has run out, so that tokens only grow, also where that
    clock is set back by less than a day. A lease is as safe as a write: one that a fail-over has
    lost is refused from then on. One that can't be read is nobody's.

    A session that one of whose keys holds what the store did not write raises
    `CorruptMessageError`, and is left out of lists; all others stay as they are.

    Example:
        >>> from sessionstore import RedisSessionStore
        >>> store = RedisSessionStore("redis://localhost:6379/0", ttl_seconds=86_400)
        >>> store
        RedisSessionStore('redis://localhost:6379/0')

    Args:
        redis: A URL: ``redis://``, ``rediss://`` (TLS), ``unix://``,
            ``redis+sentinel://host1,host2/service/db``, ``redis+cluster://host1,host2``, with
            redis-py's options for connections after a ``?``. ``decode_responses`` and the like
            change nothing; ``retry_on_timeout`` and ``retry_on_error`` are refused, since the store
            itself tries again. TCP keepalive is on unless ``socket_keepalive`` says otherwise.
            With ``max_connections``, a call waits up to the timeout for a free one:
            `StoreBusyError` where others are answered to the end, `StoreConnectionError` where
            nobody was meanwhile, and else `StoreTimeoutError`. Or a client of redis-py, sync or
            async, which is used as it is, with its own timeouts and retries, and never closed; the
            other mode and other event loops get clients of ours, made from its settings. A
            `MultiDBClient`, which fails over between databases, serves its own mode alone (the
            other raises `TypeError`), an async one on one event loop; what its databases have not
            replicated yet, a fail-over does not find.
        key_prefix: What all keys start with. Stores with different prefixes share nothing.
        ttl_seconds: How long a session is kept after its last write, in seconds (fractions
            count); ``None`` sets no expiry and takes none away. An index goes with the last
            session in it; before that, each write takes a few expired sessions out of its
            indexes, and a list or `prune_expired` those that it comes upon.
        timeout: How long a call may take, in seconds: waiting for a connection, opening it, what
            first use asks, the answer, and a second try. To look a host's name up may take longer.
            A batch of 100,000 messages at once may need more than the default. A client of yours
            has its own timeouts and retries in place of this, each of which counts by itself.
        wait_replicas: How many replicas must have a write before it returns. Where fewer have
            it after half the timeout, the write is on the master all the same, and
            `StoreUnavailableError` says so. Not for a `MultiDBClient`.

    Raises:
        ValueError: The URL, one of its options, ``timeout`` or ``wait_replicas`` is invalid.
        TypeError: ``redis`` is neither a URL nor a client of redis-py, or ``timeout`` no number.
        InvalidSessionError: ``ttl_seconds`` is not a number above 0, or ``key_prefix`` no text.
    """

    _where = ""

    _system = "redis"  # also where it is Valkey

    @hides_arguments
    def __init__(
        self,
        redis: Client | str = "redis://localhost:6379",
        *,
        key_prefix: str = "sessionstore:",
        ttl_seconds: float | None = None,
        timeout: float = 2.0,
        wait_replicas: int = 0,
    ) -> None:
        """Name the server; nothing is connected yet."""
        checked_seconds(timeout)
        if type(wait_replicas) is not int or not 0 <= wait_replicas <= NO_LIMIT:
            raise ValueError("wait_replicas must be a whole number, 0 or more")
        ttl, prefix = _milliseconds(ttl_seconds), encoded_prefix(key_prefix)
        given = None if isinstance(redis, str) else redis
        settings = (
            settings_of_url(redis, timeout) if isinstance(redis, str) else settings_of_client(redis)
        )
        if wait_replicas and settings.databases:
            raise ValueError("wait_replicas is not for a MultiDBClient: its databases replicate")
        self._settings = settings
        self._timeout = timeout if given is None else None
        self._where = str(settings)
        self._exchange = Exchange(
            Layout(self._where, prefix, ttl, settings.topology == "cluster"),
            timeout=timeout,
            wait=wait_replicas,
            is_tls=bool(settings.options.get("ssl")),
        )
        self._clients = Clients(settings, given)
        at_fork(in_child=self._start_anew)

    def __repr__(self) -> str:
        """Tell where the Redis is: never a password."""
        return f"RedisSessionStore({self._where!r})"

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds; ``None`` where a client of yours says it."""
        return self._timeout

    @property
    def bounds(self) -> StoreBounds:
        """What Redis takes in one request."""
        return BOUNDS

    def _connections(self) -> StoreConnections | None:
        return self._clients.connections()

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    def run(self, operation: Any) -> Any:
        """Carry out an operation."""
        clients = self._clients
        if clients.closed:  # a flow may have nothing to ask for
            clients.refuse_closed()
        make_flow: _MakeFlow = _OPERATIONS.get(type(operation), unknown)
        flow = make_flow(self._exchange, operation)
        began = time.monotonic()
        try:
            result = within(self._timeout, play, flow, clients.send)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: what was under way is done by now, or never will be
            if (place := DOUBTS.newest()) is not None:
                rest = self._timeout and began + self._timeout - time.monotonic()
                with suppress(*TRANSLATED, SessionStoreError):
                    within(rest, play, self._exchange.settle([place[1]]), clients.send)
            raise
        return result

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    @counted
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        clients = self._clients
        if clients.closed:  # a flow may have nothing to ask for
            clients.refuse_closed()
        make_flow: _MakeFlow = _OPERATIONS.get(type(operation), unknown)
        flow = make_flow(self._exchange, operation)
        with until(deadline_after(self._timeout)):
            try:
                return await aplay(flow, clients.asend)
            except asyncio.CancelledError:
                if (place := DOUBTS.newest()) is not None:
                    # What can't be settled now is settled before the next call.
                    await to_its_end(aplay(self._exchange.settle([place[1]]), clients.asend))
                raise

    def close(self) -> None:
        """Close the connections that the store opened; later operations raise an error."""
        self._clients.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        await self._clients.aclose()

    def _start_anew(self) -> None:
        """In a forked child: no connection crosses a fork, nor is closed on the far side of it."""
        left_to_parent(self._clients)
        self._clients = self._clients.after_fork()


def _milliseconds(ttl_seconds: float | None) -> bytes:
    if ttl_seconds is None:
        return b""
    number = isinstance(ttl_seconds, (int, float)) and not isinstance(ttl_seconds, bool)
    if not number or not 0 < ttl_seconds <= _LONGEST_TTL:
        raise InvalidSessionError("ttl_seconds must be a number above 0, or None for ever")
    return b"%d" % max(1, round(ttl_seconds * 1000))
