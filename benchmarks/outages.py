"""The fallback: what it costs while all is well, in an outage, and when the primary is back.

The outage is a server that was killed on the same machine: each attempt to reach it is refused at
once. One that does not answer costs a timeout for each attempt, which is nobody's speed to measure.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

import places
from measure import BURST, Loop, Measured, Use, by, interleaved
from ours import AsyncBare, Bare, said
from places import Place
from subject import Subject
from turns import TEXTS, WINDOWED, Sessions, once, prepared, use

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SessionMessage,
    SessionStore,
    SQLiteSessionStore,
)

HEALTHY = "a turn, the last 20, healthy"
DEGRADED = "a turn, the last 20, the primary down (refused at once on localhost)"
_LENGTH = 100


class Fallback(Bare):
    """A store with a fallback in memory."""

    name = "the store, with a fallback"

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self.store = FallbackSessionStore(self.store)


class AsyncFallback(AsyncBare):
    """The same in asyncio."""

    name = "the store, with a fallback"

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self.store = FallbackSessionStore(self.store)


def healthy(
    loop: Loop, backend: str, place: Place, *, others: int, seconds: float
) -> list[Measured]:
    """Measure turns beside those of the bare primary."""
    kinds = (Bare, AsyncBare, Fallback, AsyncFallback)
    subjects = [kind(backend, place()) for kind in kinds]
    for subject in subjects:
        prepared(loop, subject, others)
    uses = [use(loop, subject, _LENGTH, WINDOWED, name=HEALTHY) for subject in subjects]
    measured = interleaved(loop, uses, seconds=seconds, most=200)
    for subject in subjects:
        loop.run(subject.close())
    return measured


def degraded(loop: Loop, *, rounds: int, seconds: float) -> list[Measured]:
    """Measure turns of sessions in use, while their server is dead."""
    with places.redis.single(appendonly="yes") as server:
        subjects = [kind("redis", server.url) for kind in (Fallback, AsyncFallback)]
        uses = [_ready(loop, subject, (rounds + 1) * BURST) for subject in subjects]
        server.kill()
        measured = interleaved(loop, uses, seconds=seconds, most=rounds)
        server.start()
        for subject in subjects:
            assert subject.store.recover()
            loop.run(subject.close())
    return measured


def _ready(loop: Loop, subject: Subject, turns: int) -> Use:
    """Give turns in sessions that are all there before the outage."""
    sessions = Sessions(loop, subject, _LENGTH, WINDOWED)
    sessions.fill(turns)
    ahead = iter(sessions)
    return Use(by(subject, DEGRADED, _LENGTH), lambda: once(subject, *next(ahead), WINDOWED))


def replays(writes: int, times: int) -> list[Measured]:
    """Measure the replay of so many writes, of one session and of many."""
    kinds: list[tuple[str, Callable[[str], SessionStore]]] = [
        ("journal in memory", lambda _: InMemorySessionStore()),
        ("journal in SQLite (NORMAL)", lambda path: SQLiteSessionStore(path, synchronous="NORMAL")),
    ]
    return [
        _replayed(name, journal, writes, sessions, times)
        for sessions in (1, writes // 10)
        for name, journal in kinds
    ]


def _replayed(
    name: str, journal: Callable[[str], SessionStore], writes: int, sessions: int, times: int
) -> Measured:
    work = "replaying writes of one session" if sessions == 1 else "replaying writes, 10 a session"
    measured = Measured(work, "redis", "sync", name, "ours", writes)
    for _ in range(times):
        with (
            tempfile.TemporaryDirectory(prefix="sessionstore-bench-") as folder,
            places.redis.single(appendonly="yes") as server,
            RedisSessionStore(server.url) as primary,
            FallbackSessionStore(primary, fallback=journal(f"{folder}/journal.db")) as store,
        ):
            measured.seconds.append(_outage(server, store, writes, sessions))
            for n in range(sessions):
                _check(primary.get_messages(f"session-{n}"), writes // sessions)
    return measured


def _check(messages: list[SessionMessage], wanted: int) -> None:
    """Require all that was written in the outage, in order.

    What the server took just before it was killed may be gone: Redis acknowledges before that is in
    its file, where this is not made to wait for each write.
    """
    replayed = [one.content for one in messages if one.content != TEXTS[0]]
    assert replayed == [str(n) for n in range(wanted)], f"{len(replayed)} of {wanted} replayed"


def _outage(server: Any, store: FallbackSessionStore, writes: int, sessions: int) -> float:
    """Give the seconds that it took to replay all."""
    for n in range(sessions):
        store.append_messages(f"session-{n}", said(TEXTS[:1]))
    server.kill()
    for n in range(writes):
        store.append_messages(f"session-{n % sessions}", said([str(n // sessions)]))
    assert len(store.pending()) == writes
    server.start()
    start = time.perf_counter()
    assert store.recover()
    return time.perf_counter() - start
