"""What a store costs that holds many sessions, beside one that holds few."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from functools import partial

import psycopg
from index_by_hand import INDEXES, PAGE
from measure import Loop, Measured, Use, interleaved
from ours import Bare, opened, said
from places import Place
from turns import APPEND, READ_LAST, texts, use

from sessionstore import SessionStore, SQLiteSessionStore

FEW, A_USERS = 100, 200
PAGES = "listing a user's page of 50"
# As so many calls of `create` leave it, in seconds: each session has two messages.
_SESSIONS = """
WITH RECURSIVE series (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {0})
INSERT INTO sessionstore_sessions (id, agent_id, user_id, metadata, created_at, updated_at, version,
    message_count, last_position)
SELECT 'listed-' || n, agent_id, 'user-' || (n % {1}), metadata, created_at, updated_at + n,
    version, message_count, last_position
FROM sessionstore_sessions, series WHERE id = 'listed-0'
"""
_MESSAGES = """
INSERT INTO sessionstore_messages (session_key, position, id, body)
SELECT s.session_key, m.position, m.id, m.body FROM sessionstore_sessions s, sessionstore_messages m
WHERE s.id <> 'listed-0' AND m.session_key =
    (SELECT session_key FROM sessionstore_sessions WHERE id = 'listed-0')
"""


def _user(n: int, count: int) -> str:
    return f"user-{n % max(1, count // A_USERS)}"


def _create(store: SessionStore, numbers: range, count: int) -> None:
    for n in numbers:
        store.create(
            f"listed-{n}",
            user_id=_user(n, count),
            metadata={"title": "t"},
            messages=said(texts(2)),
        )


def _share(backend: str, url: str, count: int, part: int) -> None:
    with opened(backend, url) as store:
        _create(store, range(part, count, 2), count)


def _fill(backend: str, url: str, count: int) -> None:
    if backend == "sqlite":
        with SQLiteSessionStore(url, synchronous="NORMAL") as store:
            _create(store, range(count), count)
    elif backend == "redis":
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(partial(_share, backend, url, count), (0, 1)))
    else:
        with opened(backend, url) as store:
            _create(store, range(1), count)
        with psycopg.connect(url) as connection:
            connection.execute(_SESSIONS.format(count - 1, max(1, count // A_USERS)).encode())
            connection.execute(_MESSAGES.encode())
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")


def _listing(subject: Bare, count: int) -> None:
    page = subject.store.list_sessions(user_id=_user(count - 1, count), limit=PAGE)
    assert len(page.sessions) == PAGE
    assert page.sessions[0].id.startswith("listed-")


def _uses(loop: Loop, subject: Bare, count: int) -> Iterator[Use]:
    for work in (APPEND, READ_LAST):
        yield use(loop, subject, FEW, work, name=f"{work.name}, among so many sessions")
    name = type(subject).name
    measured = Measured(PAGES, subject.backend, "sync", name, "ours", count)
    yield Use(measured, lambda: _listing(subject, count))


def _index(stack: ExitStack, backend: str, place: Place, count: int) -> Use:
    users = max(1, count // A_USERS)
    index = INDEXES[backend](place(fresh=True), count, users)
    stack.enter_context(closing(index))
    user = _user(count - 1, count)

    def page() -> None:
        assert len(index.page(user)) == PAGE

    return Use(Measured(PAGES, backend, "sync", "by hand", "limit", count), page)


def many(loop: Loop, backend: str, place: Place, count: int, *, seconds: float) -> list[Measured]:
    """Measure appending, reading and listing in a store of so many sessions, and of few."""
    uses: list[Use] = []
    with ExitStack() as stack:
        for size in (FEW, count):
            url = place(fresh=True)
            _fill(backend, url, size)
            subject = stack.enter_context(closing(Bare(backend, url)))
            for one in _uses(loop, subject, size):
                one.measured.size = size
                uses.append(one)
            uses.append(_index(stack, backend, place, size))
        return interleaved(loop, uses, seconds=seconds, most=100)
