"""`RedisSessionStore`: sessions in Redis or Valkey: one machine, Sentinel, or Cluster."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote, unquote

import msgspec

try:
    from redis.exceptions import NoScriptError, RedisError, ResponseError
except ImportError as _missing:
    raise ImportError(
        "RedisSessionStore needs the redis extra: pip install 'sessionstore[redis]'"
    ) from _missing

from sessionstore._flow_store import FlowStore
from sessionstore._runtime.call_deadline import deadline_after, until, within
from sessionstore._runtime.frames import hides_arguments
from sessionstore._runtime.settling import to_its_end
from sessionstore.arguments import NO_LIMIT, checked_seconds
from sessionstore.bounds import StoreBounds
from sessionstore.errors import (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreTimeoutError,
)
from sessionstore.flow import Flow, aplay, play
from sessionstore.models import (
    SYSTEM_ROLES,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionPage,
    decode_messages,
    decode_metadata,
    encode_message,
    encode_metadata,
    from_microseconds,
)
from sessionstore.redis import scripts
from sessionstore.redis.clients import WAIT, Clients, Command, Probe, Transaction
from sessionstore.redis.doubts import Doubts
from sessionstore.redis.errors import (
    TRANSLATED,
    hint_of_tls,
    is_demoted,
    may_have_been_lost,
    not_permitted,
    translated,
)
from sessionstore.redis.settings import settings_of_client, settings_of_url
from sessionstore.redis.timed import left

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

_logger = logging.getLogger("sessionstore")

_MOST_TOLD = 1000  # sessions that can't be read, by which the log is not filled
_PAGE = 1000  # entries of an index that one script looks at: others wait for it
_MOST_MESSAGES = 500_000  # Redis takes 2**20 words in one request
_LARGEST = 512 * 2**20 - 1  # and so many bytes in one of them
_BOUNDS = StoreBounds(messages=_MOST_MESSAGES, message_bytes=_LARGEST, write_bytes=_LARGEST)
_LONGEST_TTL = 10**10
_LONGEST_CURSOR = 16
_INEXACT = 2**53  # from here on, a number of Lua stands for several
_PLAIN = "!\"#$&'()*+,/:;<=>?@[\\]^`| "  # what quote would encode, but no brace and no percent sign
_CODED = re.compile(rb"[A-Za-z0-9%._~-]*")
_RECEIPT = 5  # values that say what was done to which session; fewer where it is gone by now
_PARTS = 3  # of an index's entry: the encoded id, agent and user
_TIES = 50  # microseconds by which an index may move an activity on, to keep them apart

_RECORD = 4  # which of a session's keys has its newest writes
_NAME = 4  # where a write has its name
_AGAIN = 5  # where a write is told that it comes a second time
_UNKNOWN = "the connection to Redis broke: whether this was written before that can't be known"
_doubts = Doubts()  # of all stores of this process: they may be of the same session
_REFUSALS: dict[bytes, tuple[type[SessionStoreError], str]] = {
    b"ACCESS": (SessionAccessError, "this session belongs to another user"),
    b"EXISTS": (SessionExistsError, "session {session!r} is already there"),
    b"CONFLICT": (
        SessionConflictError,
        "the session is at version {detail}, not {expected}: read it again, then decide",
    ),
    b"NO-SESSION": (SessionNotFoundError, "there is no session {session!r}"),
    b"NO-MESSAGE": (SessionNotFoundError, "the session has no message {message!r}"),
    b"NO-BEFORE": (InvalidMessageError, "the session has no message {message!r} to go before"),
    b"NO-AFTER": (InvalidMessageError, "the session has no message {message!r} to go on from"),
    b"UNKNOWN": (StoreTimeoutError, _UNKNOWN),
    b"VOID": (StoreTimeoutError, "this write was given up before it arrived"),
    b"CORRUPT": (
        CorruptMessageError,
        "session {session!r} is not whole: one of its keys was changed or evicted",
    ),
}


class RedisSessionStore(FlowStore):
    """Sessions in Redis 6.2 or later, or Valkey 7.2 or later: no modules, no configuration.

    Every operation is one script, or a transaction, and one round trip. Any number of threads,
    event loops and processes may use a store at once: all threads share one client, each event loop
    has one of its own, closed with the loop, and a store made before a fork may be used after it.
    Nothing is connected before the first use. The first write asks, in a round trip more, whether
    the user may run all that the store needs: what its ACL lacks is a `SessionStoreError` that
    names it, before anything is written.

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
    can't be known; only a client's own retries are not told from a first try then. What remembers
    those writes has a TTL: a server that evicts under a ``volatile-`` policy may take it early, and
    then a second try is a first one, which adds no message twice, but may do another write twice.

    A call that was cancelled or interrupted is settled when it comes back: it took effect, or it
    never will. Where no answer came (also of a call that raised `StoreTimeoutError`), the write is
    noted in the session's record as given up, at once where there is time left, and else before
    this process is told anything else of the session; arriving later, it does nothing. That holds
    for a minute: what something between held back for longer is not recognised.

    A connection that waited for 15 seconds first shows, by a ``PING`` of half a second at most,
    that it still leads somewhere (one machine; sync, and async on Python 3.11 or later); where one
    proves to be dead, those that waited for as long are closed, too. `ping` opens a connection of
    its own (not under Cluster), so that it tells of the server and not of a full pool.

    Under Cluster a session is in one slot, and the lists of sessions are in others. They are
    written after the session, in a second round trip; if that fails, the session is written but
    may be missing from lists until its next write (trying again is one), and the error is
    raised. Lists are read in two round trips, and leave out and repair what is gone by then: also
    what a delete left there that was told only when it was tried again. While a slot moves to
    another node key by key, its sessions raise `StoreUnavailableError`.

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
        self._ttl = _milliseconds(ttl_seconds)
        self._prefix = _prefix(key_prefix)
        self._timeout = timeout
        self._most = timeout if isinstance(redis, str) else None
        self._wait = wait_replicas
        self._settings = (
            settings_of_url(redis, timeout) if isinstance(redis, str) else settings_of_client(redis)
        )
        if wait_replicas and self._settings.databases:
            raise ValueError("wait_replicas is not for a MultiDBClient: its databases replicate")
        self._clustered = self._settings.topology == "cluster"
        self._where = str(self._settings)
        self._clients = Clients(self._settings, None if isinstance(redis, str) else redis)
        self._abandoned: list[Clients] = []
        self._permitted = self._answered = False
        self._told: dict[str, None] = {}

    def __repr__(self) -> str:
        """Tell where the Redis is: never a password."""
        return f"RedisSessionStore({self._where!r})"

    def close(self) -> None:
        """Close the connections that the store opened; later operations raise an error."""
        self._current().close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        await self._current().aclose()

    # -- Carrying out -----------------------------------------------------------------------------

    @property
    def timeout(self) -> float | None:
        """How long a call may take, in seconds; ``None`` where a client of yours says it."""
        return self._most

    @property
    def bounds(self) -> StoreBounds:
        """What Redis takes in one request."""
        return _BOUNDS

    def _play(self, flow: Flow[T]) -> T:
        clients = self._current()
        clients.refuse_closed()  # a flow may have nothing to ask for
        result: T = within(self._most, self._played, flow, clients)
        return result

    def _played(self, flow: Flow[T], clients: Clients) -> T:
        try:
            return play(flow, clients.send)
        except Exception:
            raise
        except BaseException:  # Ctrl-C: what was under way is done by now, or never will be
            if (place := _doubts.newest()) is not None:
                with suppress(*TRANSLATED, SessionStoreError):
                    play(self._settling([place[1]]), clients.send)
            raise

    async def _aplay(self, flow: Flow[T]) -> T:
        clients = self._current()
        clients.refuse_closed()
        with until(deadline_after(self._most)):
            try:
                return await aplay(flow, clients.asend)
            except asyncio.CancelledError:
                if (place := _doubts.newest()) is not None:
                    # What can't be settled now is settled before the next call.
                    await to_its_end(aplay(self._settling([place[1]]), clients.asend))
                raise

    def _current(self) -> Clients:
        if self._clients.pid != os.getpid():
            # Connections must not cross a fork, nor be closed on the far side of it.
            self._abandoned.append(self._clients)
            self._clients = self._clients.after_fork()
        return self._clients

    # -- The operations ---------------------------------------------------------------------------

    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> Flow[SessionData]:
        fields, records = _fields(metadata), _records(messages)
        args = [_encoded(agent_id), _number(len(fields)), *fields, *records]
        reply = yield from self._write(scripts.CREATE, session_id, user_id, args)
        return SessionData(**_head(session_id, reply[5]), messages=list(messages))

    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        args = [_encoded(user_id), _number(limit)]
        reply = yield from self._read(scripts.GET, session_id, args)
        if reply[0] == b"NONE":
            return None
        messages = decode_messages(session_id, reply[2])
        return SessionData(**_head(session_id, reply[1]), messages=messages)

    def _get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> Flow[list[SessionMessage]]:
        script, args = (
            scripts.LAST,
            [_encoded(user_id), _number(limit), b"1" if keep_system else b""],
        )
        if before is not None or after is not None:
            place = b"" if before is None else before.encode()
            behind = b"" if after is None else b"+" + after.encode()
            script, args = scripts.READ, [*args[:2], place, args[2], behind]
        reply = yield from self._read(script, session_id, args, message=before or after)
        if reply[0] == b"NONE":
            return []
        first = decode_messages(session_id, reply[1])
        rest = decode_messages(session_id, reply[2])
        return [message for message in first if message.role in SYSTEM_ROLES] + rest

    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int]:
        args = [_encoded(agent_id), _number(expected_version), *_records(messages)]
        reply = yield from self._write(
            scripts.APPEND, session_id, user_id, args, expected=expected_version
        )
        return int(reply[1])

    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> Flow[None]:
        yield from self._write(
            scripts.REPLACE, session_id, user_id, _records([message]), message=message.id
        )

    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str]]:
        _require_few(message_ids)
        args = [_number(expected_version), *(message_id.encode() for message_id in message_ids)]
        reply = yield from self._write(
            scripts.REMOVE, session_id, user_id, args, expected=expected_version
        )
        if reply[0] == b"NONE":
            return []
        runs = zip(reply[5][::2], reply[5][1::2], strict=True)
        return [
            message_id for start, count in runs for message_id in message_ids[start : start + count]
        ]

    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[SessionInfo]:
        fields = [
            b"" if part == b"null" else part
            for part in _fields({} if metadata is None else metadata)
        ]
        records = _records(messages or ())
        replaces = b"" if messages is None else b"1"
        args = [_number(expected_version), replaces, _number(len(fields)), *fields, *records]
        reply = yield from self._write(
            scripts.UPDATE, session_id, user_id, args, expected=expected_version
        )
        return _info(session_id, reply[5])

    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        reply = yield from self._write(scripts.DELETE, session_id, user_id, ())
        return bool(reply[0] == b"OK")

    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        index, wanted = self._index(b"all"), b""
        if user_id is not None:
            index, wanted = self._index(b"user", _encoded(user_id)), _encoded(agent_id)
        elif agent_id is not None:
            index = self._index(b"agent", _encoded(agent_id))
        found: list[tuple[bytes, SessionInfo]] = []
        below = _place(cursor)
        while True:
            look = self._look_apart if self._clustered else self._look
            entries, below = yield from look(index, wanted, limit + 1 - len(found), below)
            read = [(entry.activity, self._info(entry)) for entry in entries]
            found += [(activity, info) for activity, info in read if info is not None]
            if not below or len(found) > limit:
                break
        more = found[limit - 1][0].decode() if len(found) > limit else None
        return SessionPage([info for _, info in found[:limit]], more)

    def _info(self, entry: _Entry) -> SessionInfo | None:
        """Give a session, or nothing where its head can't be read: one must not break a list."""
        if (info := entry.info()) is None and entry.id not in self._told:
            self._told[entry.id] = None
            if len(self._told) > _MOST_TOLD:
                del self._told[next(iter(self._told))]
            _logger.warning(
                "%r: session %r can't be read, and is left out of lists", self, entry.id
            )
        return info

    def _prune_expired(self) -> Flow[int]:
        above, pruned = b"0", 0
        prune = self._prune_apart if self._clustered else self._prune
        while self._ttl and above:
            count, above = yield from prune(above)
            pruned += count
        return pruned

    def _ping(self) -> Flow[None]:
        try:
            yield Probe(_Call(scripts.PING, (self._index(b"all"),), ()).by_text())
        except TRANSLATED as error:
            raise self._error_of(error) from error

    # -- One session ------------------------------------------------------------------------------

    def _read(
        self,
        script: scripts.Script,
        session_id: str,
        args: Sequence[Any],
        **names: Any,
    ) -> Flow[list[Any]]:
        kind = _All if script is scripts.LAST and not args[1] else _Call
        call = kind(script, self._keys(_encoded(session_id)), args, session_id)
        [reply] = yield from self._ask([call])
        return _accepted(reply, session=session_id, **names)

    def _write(
        self,
        script: scripts.Script,
        session_id: str,
        user_id: str | None,
        args: Sequence[Any],
        **names: Any,
    ) -> Flow[list[Any]]:
        # The random bytes name this write: when it is sent again, the script knows it.
        prefix = b"" if self._clustered else b"+" + self._prefix
        ttl = _number(self._ttl)
        who = [prefix, _encoded(session_id), _encoded(user_id), ttl, os.urandom(8), b""]
        keys = self._keys(_encoded(session_id))
        if script is scripts.REMOVE:
            keys += (keys[0].removesuffix(b":session") + b":deleted",)
        call = _Write(script, keys, [*who, *args], session_id)
        try:
            [reply] = yield from self._ask([call], wait=self._wait)
            _accepted(reply, session=session_id, **names)
            if self._clustered and len(reply) >= _RECEIPT and reply[4]:
                yield from self._list_apart(script, session_id, reply)
        except BaseException as error:
            if _is_open(error):
                _doubts.note((self._where, keys[_RECORD]), call.args[_NAME])
            raise
        return reply if len(reply) > 1 else [*reply, 0]

    def _list_apart(
        self, script: scripts.Script, session_id: str, reply: list[Any]
    ) -> Flow[list[Any]]:
        member = b"/".join((_encoded(session_id), reply[2], reply[3]))
        if script is scripts.DELETE:
            return (yield from self._ask(self._drops(_Entry(member, reply[4], []))))
        return (yield from self._ask(self._touches(member, reply[4])))

    def _keys(self, encoded_id: bytes) -> tuple[bytes, ...]:
        tagged = self._prefix + b"{" + encoded_id + b"}:"
        return (
            tagged + b"session",
            tagged + b"messages",
            tagged + b"positions",
            tagged + b"gaps",
            tagged + b"writes",
        )

    # -- The indexes: on one machine, and under Cluster, apart from the sessions ------------------

    def _index(self, kind: bytes, value: bytes | None = None) -> bytes:
        scope = kind if value is None else kind + b":" + value
        return self._prefix + b"{:" + scope + b"}"

    def _indexes(self, member: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Give the indexes that an entry is in, each with the one of when its entries end."""
        _, agent, user = member.split(b"/")
        indexes = [self._index(b"all"), self._index(b"agent", agent)]
        if user:
            indexes.append(self._index(b"user", user))
        for index in indexes:
            yield index, index + b":ends"

    def _look(
        self, index: bytes, wanted: bytes, limit: int, below: bytes
    ) -> Flow[tuple[list[_Entry], bytes]]:
        args = (self._prefix, wanted, _number(limit), below, _number(_PAGE))
        [[_, found, rest]] = yield from self._ask([_Call(scripts.LIST, (index,), args)])
        return [_Entry(*found[i : i + 3]) for i in range(0, len(found), 3)], rest

    def _look_apart(
        self, index: bytes, wanted: bytes, limit: int, below: bytes
    ) -> Flow[tuple[list[_Entry], bytes]]:
        args = (below, _number(min(limit, _PAGE)), wanted, _number(_PAGE))
        [[_, flat, rest]] = yield from self._ask([_Call(scripts.PAGE, (index,), args)])
        live, _ = yield from self._checked(flat)
        return live, rest

    def _prune(self, above: bytes) -> Flow[tuple[int, bytes]]:
        args = (self._prefix, _number(self._ttl), above, _number(_PAGE))
        call = _Call(scripts.PRUNE, (self._index(b"all"),), args)
        [[_, pruned, rest]] = yield from self._ask([call])
        return int(pruned), rest

    def _prune_apart(self, above: bytes) -> Flow[tuple[int, bytes]]:
        call = _Call(
            scripts.OLDEST, (self._index(b"all"),), (above, _number(_PAGE), _number(self._ttl))
        )
        [[_, flat]] = yield from self._ask([call])
        _, gone = yield from self._checked(flat)
        return gone, flat[-1] if len(flat) == 2 * _PAGE else b""

    def _checked(self, flat: Sequence[bytes]) -> Flow[tuple[list[_Entry], int]]:
        """Look at the sessions of some entries; take out those that are gone, and count them."""
        pairs = zip(flat[::2], flat[1::2], strict=True)
        # What the store did not write there is left alone.
        entries = [_Entry(*pair, []) for pair in pairs if pair[0].count(b"/") == _PARTS - 1]
        if not entries:
            return [], 0
        peeks = [
            _Call(scripts.PEEK, self._keys(entry.member.split(b"/")[0])[:1], ())
            for entry in entries
        ]
        replies = yield from self._ask(peeks)
        seen = [
            (entry, reply[1])
            for entry, reply in zip(entries, replies, strict=True)
            if len(reply) > 1
        ]
        live = [entry._replace(head=head) for entry, head in seen if entry.is_of(head)]
        gone = [entry for entry, head in seen if not entry.is_of(head)]
        if gone:
            yield from self._ask([call for entry in gone for call in self._drops(entry)])
        return live, len(gone)

    def _touches(self, member: bytes, activity: bytes) -> list[_Call]:
        args = (member, activity, _number(self._ttl))
        return [_Call(scripts.TOUCH, keys, args) for keys in self._indexes(member)]

    def _drops(self, entry: _Entry) -> list[_Call]:
        args = (entry.member, _number(int(entry.activity) + _TIES))
        return [_Call(scripts.DROP, keys, args) for keys in self._indexes(entry.member)]

    # -- Asking Redis -----------------------------------------------------------------------------

    def _ask(self, calls: Sequence[_Call], wait: int = 0) -> Flow[list[Any]]:
        """Carry calls out, a second time if the connection broke, and give their replies."""
        started, session_id = time.monotonic(), calls[0].session_id
        try:
            call = calls[0]
            known = self._permitted or not isinstance(call, _Write)
            if known and not wait and len(calls) == 1 and not _doubts.names:
                try:  # what nearly every operation comes to, without all that may have to be added
                    if isinstance(call, _All) and (results := (yield call.at_once())) is not None:
                        self._answered = True
                        return [call.reply(results)]
                    replies: list[Any] = yield [call.by_hash()]
                except NoScriptError as error:
                    unknown = [error.with_traceback(None)]  # it would hold this frame
                    return (yield from self._exchange(calls, wait, unknown))
                self._answered = True
                return replies
            return (yield from self._exchange(calls, wait))
        except TRANSLATED as error:
            lost = error
        if is_demoted(lost):
            yield []  # lets go of the connections that lead there
        since = self._since(started) if may_have_been_lost(lost) else None
        if since is None:
            raise self._error_of(lost, session_id) from lost
        try:
            replies = yield from self._exchange([call.again(since) for call in calls], wait)
        except TRANSLATED as error:
            raise self._error_of(error, session_id) from error
        if any(reply[0] == b"UNKNOWN" for reply in replies):
            raise StoreTimeoutError(_UNKNOWN) from lost
        return replies

    def _error_of(self, error: BaseException, session_id: str | None = None) -> SessionStoreError:
        told = translated(error, session_id)
        is_tls = bool(self._settings.options.get("ssl"))
        hint = "" if self._answered else hint_of_tls(error, is_tls)
        return type(told)(f"{told}{hint}") if hint else told

    def _since(self, started: float) -> int | None:
        """Give how long ago a first try may have come, or nothing where it is too late for another.

        The second may be on its way for as long as the call may still take.
        """
        passed = time.monotonic() - started
        try:
            rest = left()
        except RedisError:
            return None
        if rest is None and passed > self._timeout / 2:
            return None
        return int((passed + (self._timeout if rest is None else rest)) * 1_000_000)

    def _exchange(
        self, calls: Sequence[_Call], wait: int, replies: list[Any] | None = None
    ) -> Flow[list[Any]]:
        """Carry calls out, by their scripts' texts where the server does not know their hashes."""
        confirmed: Any = 0
        asked = isinstance(calls[0], _Write) and not self._permitted
        if asked:
            yield from self._ask_permission(calls[0])
        if _doubts.names:
            yield from self._settling(_records_of(calls))
        if replies is None:
            replies, confirmed = yield from self._sent([call.by_hash() for call in calls], wait)
        self._answered = True
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            if isinstance(calls[0], _Write) and not asked:
                # This may be another server than before, with other permissions.
                yield from self._ask_permission(calls[0])
            texts = [calls[i].by_text() for i in unknown]
            loaded, confirmed = yield from self._sent(texts, wait)
            for i, reply in zip(unknown, loaded, strict=True):
                replies[i] = reply
        for reply in (*replies, confirmed):
            if isinstance(reply, Exception):
                raise reply
        if confirmed < wait and replies[0][0] in (b"OK", b"NOTHING"):
            raise StoreTimeoutError(
                f"this is on the master, but only {confirmed} of {wait} replicas have confirmed it"
            )
        return replies

    def _settling(self, records: Sequence[bytes] | None) -> Flow[None]:
        """Have the server note what is in doubt as given up; ``None``: of all sessions."""
        for place, names in _doubts.of(self._where, records):
            call = _Call(scripts.SETTLE, (place[1],), names)
            try:
                yield [call.by_text()]
                if self._clustered:
                    yield from self._listing_anew(place[1])
            except ResponseError:
                continue  # such as a replica's: what is asked next is told the same
            _doubts.settle(place, names)

    def _listing_anew(self, record: bytes) -> Flow[None]:
        """Enter a session into the lists: what ended a write came before that, perhaps."""
        head = record.removesuffix(b":writes") + b":session"
        [reply] = yield [_Call(scripts.PEEK, (head,), ()).by_text()]
        fields = _pairs(reply[1]) if len(reply) > 1 else {}
        if fields.get(b"updated", b"").isdigit() and b"agent" in fields:
            encoded_id = head.partition(b"{")[2].partition(b"}")[0]
            member = b"/".join((encoded_id, fields[b"agent"], fields.get(b"user", b"")))
            for call in self._touches(member, fields[b"updated"]):
                yield [call.by_text()]

    def _ask_permission(self, call: _Call) -> Flow[None]:
        """Refuse a write that its user's permissions would end half way."""
        keys = tuple(call.keys[0] + part for part in (b":typed", b":absent"))
        commands = [_Call(scripts.PROBE, keys, ()).by_text()]
        if self._wait:
            commands.append(Command(keys[0], (WAIT, b"0", b"1")))
        replies = yield commands
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        if replies[0]:
            raise SessionStoreError(not_permitted(name.decode() for name in replies[0]))
        self._permitted = True

    def _sent(self, commands: list[Command], wait: int) -> Flow[tuple[list[Any], Any]]:
        if wait:
            rest = left(self._timeout) or self._timeout
            patience = max(1, int(rest * 500))
            last = Command(commands[-1].key, (WAIT, _number(wait), _number(patience)))
            *replies, confirmed = yield [*commands, last]
            return replies, confirmed
        try:
            replies = yield commands
        except NoScriptError as error:
            replies = [error.with_traceback(None)]  # it would hold this frame, and the store
        return replies, 0


class _Call(NamedTuple):
    """One call of a script.

    No word is a number: hiredis has Python write those, and ends the process where a signal, such
    as that of Ctrl-C, is handled just then.
    """

    script: scripts.Script
    keys: tuple[bytes, ...]
    args: Sequence[Any]
    session_id: str | None = None

    def by_hash(self) -> Command:
        return self._command("EVALSHA", self.script.sha)

    def by_text(self) -> Command:
        return self._command("EVAL", self.script.text)

    def _command(self, name: str, script: bytes) -> Command:
        count = b"%d" % len(self.keys)
        return Command(self.keys[0], (name, script, count, *self.keys, *self.args))

    def again(self, since: int) -> _Call:  # noqa: ARG002
        """Give the same call, as it is made a second time, so many microseconds later."""
        return self


class _Write(_Call):
    """One call of a script that writes, which is told when it comes a second time."""

    __slots__ = ()

    def again(self, since: int) -> _Call:
        return self._replace(args=[*self.args[:_AGAIN], _number(since), *self.args[_AGAIN + 1 :]])


class _All(_Call):
    """A call that reads all messages.

    Where there are transactions, one does what the script does, and takes a sixth of the time of a
    server that works for one caller at a time: it hands the messages on without a copy in Lua.
    """

    __slots__ = ()

    def at_once(self) -> Transaction:
        head, messages, positions, gaps, _ = self.keys
        return Transaction(
            (
                ("HMGET", head, "agent", "user", "count", "gaps"),
                ("LLEN", messages),
                ("HLEN", positions),
                ("ZCARD", gaps),
                ("LRANGE", messages, b"0", b"-1"),
            )
        )

    def reply(self, results: list[Any]) -> list[Any]:
        """Give what the script would, from what the transaction gave."""
        head, *counts, bodies = results
        if isinstance(head, Exception):
            raise head
        (agent, owner, count, gaps), caller = head, self.args[0]
        if agent is None:
            return [b"NONE"]
        # Before all else: who is not the owner is not told that a session is damaged, either.
        if caller and owner not in (b"", caller):
            return [b"ACCESS"]
        for result in (*counts, bodies):
            if isinstance(result, Exception):
                raise result
        whole = [count, count, gaps or b"0"] == [b"%d" % found for found in counts]
        return [b"OK", [], bodies] if whole and owner is not None else [b"CORRUPT"]


class _Entry(NamedTuple):
    """An entry of an index, with the head of its session where that was looked up."""

    member: bytes
    activity: bytes
    head: list[bytes]

    @property
    def id(self) -> str:
        return unquote(self.member.split(b"/")[0].decode())

    def info(self) -> SessionInfo | None:
        """Give the session, or nothing where its head can't be read."""
        try:
            return _info(self.id, self.head)
        except (CorruptMessageError, UnicodeDecodeError):
            return None

    def is_of(self, head: list[bytes]) -> bool:
        fields = _pairs(head)
        return self.member.split(b"/")[1:] == [fields.get(b"agent"), fields.get(b"user")]


# -- What is in doubt -----------------------------------------------------------------------------


def _is_open(error: BaseException) -> bool:
    """Tell whether a write that ended so may still arrive, or has: nobody was answered."""
    if isinstance(error, StoreReadOnlyError):
        return False
    return isinstance(error, (StoreTimeoutError, StoreConnectionError)) or not isinstance(
        error, Exception
    )


def _records_of(calls: Sequence[_Call]) -> list[bytes] | None:
    if calls[0].session_id is None:
        return None
    return [call.keys[_RECORD] for call in calls]


# -- To Redis, and back ----------------------------------------------------------------------------


def _milliseconds(ttl_seconds: float | None) -> int | None:
    if ttl_seconds is None:
        return None
    number = isinstance(ttl_seconds, (int, float)) and not isinstance(ttl_seconds, bool)
    if not number or not 0 < ttl_seconds <= _LONGEST_TTL:
        raise InvalidSessionError("ttl_seconds must be a number above 0, or None for ever")
    return max(1, round(ttl_seconds * 1000))


def _prefix(key_prefix: str) -> bytes:
    """Keep a prefix from looking like a hash tag, so that the first brace ends it."""
    try:
        return quote(str.__str__(key_prefix), safe=_PLAIN).encode()
    except (TypeError, UnicodeEncodeError):
        raise InvalidSessionError("key_prefix must be valid Unicode text") from None


@lru_cache(1024)
def _encoded(value: str | None) -> bytes:
    return b"" if value is None else quote(value, safe="").encode()


@lru_cache(1024)
def _decoded(value: bytes) -> str:
    if not _CODED.fullmatch(value):
        raise ValueError("not as the store writes it")
    return unquote(value.decode())


def _number(value: int | None) -> bytes:
    return b"" if value is None else str(value).encode()


def _require_few(messages: Sequence[Any]) -> None:
    if len(messages) > _MOST_MESSAGES:
        raise InvalidMessageError(f"Redis takes up to {_MOST_MESSAGES:,} messages at once")


def _records(messages: Sequence[SessionMessage]) -> list[bytes]:
    _require_few(messages)
    words: list[bytes] = []
    total = 0
    for message in messages:
        body = encode_message(message)
        total += len(body)
        words += (str(message.id).encode(), body)
    if total > _LARGEST:
        _BOUNDS.require(words[1::2])
    return words


def _fields(metadata: dict[str, Any]) -> list[bytes]:
    """Give each key of metadata as a field of the head, and its value as JSON."""
    parts = msgspec.json.decode(encode_metadata(metadata), type=dict[str, msgspec.Raw])
    return [word for key, raw in parts.items() for word in (b":" + key.encode(), bytes(raw))]


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _whole(raw: bytes) -> int:
    """Read a number as the scripts do: what is none for them is none here."""
    number = int(raw) if raw.isdigit() else _INEXACT
    if number >= _INEXACT:
        raise ValueError("no whole number")
    return number


def _head(session_id: str, flat: list[bytes]) -> dict[str, Any]:
    """Give what a session's head says: the fields that `SessionData` and `SessionInfo` share."""
    fields = _pairs(flat)
    try:
        _whole(fields.get(b"first", b"0"))
        raws = {k[1:].decode(): msgspec.Raw(v) for k, v in fields.items() if k[:1] == b":"}
        return {
            "id": session_id,
            "agent_id": _decoded(fields[b"agent"]),
            "user_id": _decoded(fields[b"user"]) or None,
            "metadata": decode_metadata(msgspec.json.encode(raws)) if raws else {},
            "created_at": from_microseconds(_whole(fields[b"created"])),
            "updated_at": from_microseconds(_whole(fields[b"updated"])),
            "version": _whole(fields[b"version"]),
            "message_count": _whole(fields[b"count"]),
        }
    except (KeyError, ValueError, OverflowError, CorruptMessageError) as error:
        msg = f"session {session_id!r}: what is stored about it can't be read"
        raise CorruptMessageError(msg) from error


def _info(session_id: str, flat: list[bytes]) -> SessionInfo:
    return SessionInfo(**_head(session_id, flat))


def _accepted(reply: list[Any], **names: Any) -> list[Any]:
    refusal = _REFUSALS.get(reply[0])
    if refusal is None:
        return reply
    kind, words = refusal
    raise kind(words.format(detail=reply[-1], **names))


def _place(cursor: str | None) -> bytes:
    if cursor is None:
        return b""
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _LONGEST_CURSOR):
        raise InvalidSessionError("cursor is not one that list_sessions gave")
    return cursor.encode()
