"""The servers that tests share: started at first use, once in each test process."""

from __future__ import annotations

import asyncio
import gc
import os
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

import hypothesis
import pytest
from servers import redis as redis_servers
from servers.mariadb import MariadbServer
from servers.mariadb import binary as mariadb_binary
from servers.postgres import PostgresServer
from warm import Warm

from sessionstore import AgentDb, FallbackSessionStore

# How fast an example is, the benchmarks tell: here other tests run beside it.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

Call = Callable[..., Any]
_MADE: WeakSet[FallbackSessionStore] = WeakSet()
_KEPT: WeakSet[FallbackSessionStore] = WeakSet()  # by something that a collection left alone
OLDEST = list(redis_servers.binaries())[-1:]


def _note_those_made() -> None:
    begin = FallbackSessionStore._begin

    def noted(self: FallbackSessionStore, *args: Any) -> None:
        begin(self, *args)
        _MADE.add(self)

    FallbackSessionStore._begin = noted  # type: ignore[method-assign]


_note_those_made()


def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: the tests wait for their servers half of the time."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection() -> None:
    """Keep the collector off what stays: 14,000 tests, and all that they import."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_last_words_in_other_tests(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Have fallbacks that a test dropped with writes waiting say so before the next test."""
    yield
    for generation in (1, 2):  # the oldest last: to go through it takes half a second
        if any(map(_has_last_words, set(_MADE) - set(_KEPT))):
            for when in ("call", "teardown"):
                caplog.get_records(when).clear()  # errors in them hold frames, and those the stores
            gc.collect(generation)
    _KEPT.update(_MADE)


def _has_last_words(store: FallbackSessionStore) -> bool:
    """Tell whether it has writes waiting, and was not closed: then they were told of."""
    return store._finalizer.alive and store._parts.journal.size > 0


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Iterator[Call]:
    """Call a method of a store sync or async; the async one always on the same loop."""
    if request.param == "sync":
        yield lambda store, name, *args, **kwargs: getattr(store, name)(*args, **kwargs)
        return
    loop = asyncio.new_event_loop()

    def run(store: Any, name: str, *args: Any, **kwargs: Any) -> Any:
        return loop.run_until_complete(getattr(store, f"a{name}")(*args, **kwargs))

    yield run
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    warm = Warm()
    yield warm
    warm.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariadbServer]:
    server = MariadbServer(str(mariadb_binary()))
    yield server
    server.stop()


def empty(db: AgentDb) -> None:
    """Empty a store's tables: cheaper than to make them for each test."""
    with db._sync().begin() as connection:
        for table in (db.tables.messages, db.tables.sessions, db.tables.leases):
            connection.execute(table.delete())


@pytest.fixture
def schema() -> str:
    """Give the name of a schema of the test's own: cheaper than a database."""
    return f"test_{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def redis_server() -> Iterator[redis_servers.Server]:
    with redis_servers.single() as server:
        yield server


@pytest.fixture(scope="session")
def old_redis_server() -> Iterator[redis_servers.Server]:
    with redis_servers.single(*OLDEST) as server:
        yield server


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[redis_servers.Cluster]:
    with redis_servers.cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def old_redis_guarded() -> Iterator[redis_servers.Guarded]:
    with redis_servers.guarded(*OLDEST) as guarded:
        yield guarded
