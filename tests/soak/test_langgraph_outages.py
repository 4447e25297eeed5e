"""Graphs on a PostgreSQL that is killed and stopped again and again."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from graphs import approval, require_interrupts
from langgraph.types import Command
from postgres_savers import async_postgres_saver, postgres_saver
from servers.postgres import PostgresServer
from servers.process import wait_until

from langgraph_sessionstore import FallbackCheckpointer

CHANCE = random.SystemRandom()
THREADS = 8
FAULTS = 10
TIMEOUT = 0.5  # the pool's, for a connection


class Recording(FallbackCheckpointer):
    """Notes each checkpoint that was acknowledged."""

    acknowledged: list

    def put(self, config, checkpoint, metadata, new_versions):
        told = super().put(config, checkpoint, metadata, new_versions)
        self.acknowledged.append((told, dict(checkpoint["channel_versions"])))
        return told

    async def aput(self, config, checkpoint, metadata, new_versions):
        told = await super().aput(config, checkpoint, metadata, new_versions)
        self.acknowledged.append((told, dict(checkpoint["channel_versions"])))
        return told


@pytest.fixture
def server():
    made = PostgresServer()
    yield made
    made.stop()


@pytest.fixture(params=["in memory", "in a file", "with a timeout"])
def kind(request):
    return request.param


@pytest.fixture
def options(kind, tmp_path):
    file = f"sqlite:///{tmp_path}/journal.db"
    fallback = file if kind == "in a file" else "in-memory"
    timeout = 1.0 if kind == "with a timeout" else None
    retries = {"retry_after": 0.05, "retry_cap": 0.5}
    # These graphs never pause: they do in seconds what users do in hours.
    return {"fallback": fallback, "timeout": timeout, "max_pending": 1_000_000, **retries}


@pytest.fixture
def faults(kind, server):
    """Give how a server ends, and how it begins again."""
    ends = [(server.kill, server.start), (server.shut_down, server.start)]
    return [*ends, (server.freeze, server.thaw)] if kind == "with a timeout" else ends


def config(number):
    return {"configurable": {"thread_id": str(number)}}


def words(turn):
    return [f"turn {turn}", "begin", f"answer {turn}", "left", "right", "end"]


def fail_again_and_again(faults, over):
    try:
        for end, begin in CHANCE.choices(faults, k=FAULTS):
            time.sleep(CHANCE.uniform(0.1, 0.8))
            end()
            time.sleep(CHANCE.uniform(0.1, 2.0))
            begin()
    finally:
        over.set()


def turns(graph, number, over):
    turn = 0
    while not over.is_set() or turn < 3:
        stopped = graph.invoke({"log": [f"turn {turn}"]}, config(number))
        assert stopped["__interrupt__"], stopped
        done = graph.invoke(Command(resume=f"answer {turn}"), config(number))
        assert done["log"][-6:] == words(turn)
        assert len(done["log"]) == 6 * (turn + 1)
        turn += 1
    return done


async def aturns(graph, number, over):
    turn = 0
    while not over.is_set() or turn < 3:
        await graph.ainvoke({"log": [f"turn {turn}"]}, config(number))
        done = await graph.ainvoke(Command(resume=f"answer {turn}"), config(number))
        assert done["log"][-6:] == words(turn)
        assert len(done["log"]) == 6 * (turn + 1)
        turn += 1
    return done


def require_all(checkpointer, saver, lasts):
    """Require the primary alone to hold all that was acknowledged."""
    assert checkpointer.rejected() == checkpointer.pending() == []
    assert checkpointer.stats().fallbacks > 0
    assert checkpointer.stats().replayed > 0
    alone = approval().compile(checkpointer=saver)
    for number, last in enumerate(lasts):
        assert alone.get_state(config(number)).values == last
    for told, versions in checkpointer.acknowledged:
        found = saver.get_tuple(told)
        assert found, told
        assert found.checkpoint["channel_versions"] == versions


def test_nothing_is_lost_though_postgresql_fails_again_and_again(server, options, faults):
    with (
        postgres_saver(server.url(), TIMEOUT) as saver,
        Recording(saver, **options) as checkpointer,
        ThreadPoolExecutor(THREADS + 1) as pool,
    ):
        checkpointer.acknowledged = []
        graph = approval().compile(checkpointer=checkpointer)
        over = threading.Event()
        running = [pool.submit(turns, graph, number, over) for number in range(THREADS)]
        fail_again_and_again(faults, over)
        lasts = [each.result() for each in running]
        wait_until(checkpointer.recover, "it does not recover")
        require_all(checkpointer, saver, lasts)


def test_nothing_is_lost_in_asyncio_though_postgresql_fails_again_and_again(
    server, options, faults
):
    require_interrupts(in_asyncio=True)

    async def run():
        async with (
            async_postgres_saver(server.url(), TIMEOUT) as saver,
            Recording(saver, **options) as checkpointer,
        ):
            checkpointer.acknowledged = []
            graph = approval().compile(checkpointer=checkpointer)
            over = threading.Event()
            failing = asyncio.to_thread(fail_again_and_again, faults, over)
            running = (aturns(graph, number, over) for number in range(THREADS))
            _, *lasts = await asyncio.gather(failing, *running)
            while not await checkpointer.arecover():  # the pool connects again in its own time
                pass
        return checkpointer, lasts

    checkpointer, lasts = asyncio.run(run())
    with postgres_saver(server.url()) as saver:
        require_all(checkpointer, saver, lasts)
