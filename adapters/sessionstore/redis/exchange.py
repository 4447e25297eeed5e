"""How flows ask Redis: by a script's hash, by its text where that is unknown, and once again.

What nearly every operation comes to is one command; all that may have to be added to it, once or
rarely, is in `Exchange` too: permissions, the outcome of earlier writes, replicas, a second try.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis.exceptions import NoScriptError, RedisError

from sessionstore.errors import SessionStoreError, StoreTimeoutError
from sessionstore.operations import Ping, Setup
from sessionstore.redis import scripts
from sessionstore.redis.asked import LateTogetherError
from sessionstore.redis.calls import Call, ReadAllCall, WriteCall, number
from sessionstore.redis.doubts import DOUBTS
from sessionstore.redis.errors import (
    TRANSLATED,
    hint_of_tls,
    is_demoted,
    may_have_been_lost,
    translated,
)
from sessionstore.redis.keys import Layout
from sessionstore.redis.permissions import require_permission
from sessionstore.redis.refusals import UNKNOWN
from sessionstore.redis.requests import WAIT, Command, Probe, RedisFlow, Reply, Words
from sessionstore.redis.settlement import settle
from sessionstore.redis.timed import left

__all__ = ["PAGE", "Exchange", "ping", "set_up"]

PAGE = 1000
"""Entries of an index that one script looks at: others wait for it."""

_WRITTEN = (b"OK", b"NOTHING")


class Exchange:
    """How the flows of one store ask its Redis, and what they know about it.

    Args:
        layout: Where the store's keys are.
        timeout: How long a call may take, in seconds.
        wait: How many replicas must have a write before it returns.
        is_tls: Whether the connections are encrypted.
    """

    def __init__(self, layout: Layout, *, timeout: float, wait: int, is_tls: bool) -> None:
        """Ask nothing yet."""
        self.layout = layout
        self.wait = wait
        self.index_prefix: bytes = b"" if layout.clustered else b"+" + layout.prefix
        self.reported: dict[str, None] = {}
        self._timeout = timeout
        self._is_tls = is_tls
        self._permitted = self._answered = False

    def ask(self, calls: Sequence[Call], wait: int = 0) -> RedisFlow[Reply]:
        """Carry calls out, a second time if the connection broke, and give their replies.

        Args:
            calls: What to carry out: of one session, or of indexes.
            wait: How many replicas must have it.
        """
        started, call = time.monotonic(), calls[0]
        try:
            usual = self._permitted or not isinstance(call, WriteCall)
            if not usual or wait or len(calls) > 1 or DOUBTS.names:
                return (yield from self._exchange(calls, wait))
            try:
                if isinstance(call, ReadAllCall) and (results := (yield call.at_once())):
                    replies = [call.reply(results)]
                else:
                    replies = yield [call]
            except NoScriptError as error:
                unknown = [error.with_traceback(None)]  # it would hold this frame
                return (yield from self._exchange(calls, wait, unknown))
        except TRANSLATED as error:
            lost = error
        else:
            self._answered = True
            return replies
        return (yield from self._ask_again(calls, wait, started, lost))

    def prepare(self) -> RedisFlow[None]:
        """Ask for the user's permissions, and have the server know the scripts, where it may.

        Under Cluster each node is sent a script when it is first asked to run it.

        Raises:
            SessionStoreError: The user's ACL lacks a command that the scripts need.
        """
        index = self.layout.index(b"all")
        yield from require_permission(index, waits=bool(self.wait))
        self._permitted = self._answered = True
        if not self.layout.clustered:
            # Whoever may not load them sends their texts, as each first use does.
            yield [Command(index, Words(("SCRIPT", "LOAD", text))) for text in scripts.texts()]

    def settle(self, records: Sequence[bytes] | None) -> RedisFlow[None]:
        """Have the server note what is in doubt of some sessions, or of all, as given up."""
        return settle(self.layout, records)

    def error_of(self, error: BaseException, session_id: str | None = None) -> SessionStoreError:
        """Give our error for one of redis-py's.

        Args:
            error: One of `TRANSLATED`.
            session_id: The session that was worked on, if it was one.
        """
        ours = translated(error, session_id)
        hint = "" if self._answered else hint_of_tls(error, self._is_tls)
        ours = type(ours)(f"{ours}{hint}") if hint else ours
        if isinstance(error, LateTogetherError) and isinstance(ours, StoreTimeoutError):
            ours.batch = error.batch
        return ours

    def _ask_again(
        self, calls: Sequence[Call], wait: int, started: float, lost: BaseException
    ) -> RedisFlow[Reply]:
        session_id = calls[0].session_id
        if is_demoted(lost):
            yield []  # lets go of the connections that lead there
        since = self._since(started) if may_have_been_lost(lost) else None
        if since is None:
            raise self.error_of(lost, session_id) from lost
        try:
            replies = yield from self._exchange([call.again(since) for call in calls], wait)
        except TRANSLATED as error:
            raise self.error_of(error, session_id) from error
        if any(reply[0] == b"UNKNOWN" for reply in replies):
            raise StoreTimeoutError(UNKNOWN) from lost
        return replies

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
        self, calls: Sequence[Call], wait: int, replies: Reply | None = None
    ) -> RedisFlow[Reply]:
        """Carry calls out, by their scripts' texts where the server does not know their hashes."""
        confirmed: Any = 0
        asked = isinstance(calls[0], WriteCall) and not self._permitted
        if asked:
            yield from self._require_permission(calls[0])
        if DOUBTS.names:
            yield from self.settle(_records_of(calls))
        if replies is None:
            replies, confirmed = yield from self._sent(calls, wait)
        self._answered = True
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            if isinstance(calls[0], WriteCall) and not asked:
                # This may be another server than before, with other permissions.
                yield from self._require_permission(calls[0])
            texts = [calls[i].by_text() for i in unknown]
            loaded, confirmed = yield from self._sent(texts, wait)
            for i, reply in zip(unknown, loaded, strict=True):
                replies[i] = reply
        _require_all(replies, confirmed, wait)
        return replies

    def _require_permission(self, call: Call) -> RedisFlow[None]:
        yield from require_permission(call.key, waits=bool(self.wait))
        self._permitted = True

    def _sent(self, commands: Sequence[Command], wait: int) -> RedisFlow[tuple[Reply, Any]]:
        if wait:
            rest = left(self._timeout) or self._timeout
            patience = max(1, int(rest * 500))
            last = Command(commands[-1].key, Words((WAIT, number(wait), number(patience))))
            *replies, confirmed = yield [*commands, last]
            return replies, confirmed
        try:
            replies = yield commands
        except NoScriptError as error:
            replies = [error.with_traceback(None)]  # it would hold this frame, and the store
        return replies, 0


def ping(exchange: Exchange, _: Ping) -> RedisFlow[None]:
    """Ask for a sign of life, by a connection of its own."""
    call = Call.of(scripts.PING, (exchange.layout.index(b"all"),), ())
    try:
        yield Probe(call.by_text())
    except TRANSLATED as error:
        raise exchange.error_of(error) from error


def set_up(exchange: Exchange, _: Setup) -> RedisFlow[None]:
    """Do what the first use would do beside its own work."""
    try:
        yield from exchange.prepare()
    except TRANSLATED as error:
        raise exchange.error_of(error) from error


def _require_all(replies: Reply, confirmed: Any, wait: int) -> None:
    """Raise what a reply is that is an error, and where too few replicas have confirmed."""
    for reply in (*replies, confirmed):
        if isinstance(reply, Exception):
            raise reply
    if confirmed < wait and replies[0][0] in _WRITTEN:
        raise StoreTimeoutError(
            f"this is on the master, but only {confirmed} of {wait} replicas have confirmed it"
        )


def _records_of(calls: Sequence[Call]) -> list[bytes] | None:
    if calls[0].session_id is None:
        return None
    return [record for call in calls for record in call.records]
