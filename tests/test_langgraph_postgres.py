"""PostgreSQL goes away in the middle of a graph: it goes on, and PostgreSQL has all in the end."""

from __future__ import annotations

import asyncio
import uuid

import psycopg
import pytest
from graphs import approval, nested, require_interrupts
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from postgres_savers import async_postgres_saver, postgres_saver
from servers.postgres import PostgresServer
from servers.process import wait_until

from langgraph_sessionstore import FallbackCheckpointer

CONFIG = {"configurable": {"thread_id": "t"}}
ANSWER = Command(resume="yes")
TURNS = [{"log": ["a"]}, ANSWER, {"log": ["b"]}, ANSWER]
TIMEOUT = 0.5  # the pool's, for a connection: the server refuses them at once


@pytest.fixture(scope="module")
def server():
    made = PostgresServer()
    yield made
    made.stop()


@pytest.fixture
def url(server):
    """Give the URL of an empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return server.url(name)


@pytest.mark.parametrize("make", [approval, nested])
def test_a_graph_goes_on_without_postgresql(server, url, make):
    undisturbed = make().compile(checkpointer=InMemorySaver())
    *_, expected = [undisturbed.invoke(given, CONFIG) for given in TURNS]
    with (
        postgres_saver(url, TIMEOUT) as saver,
        FallbackCheckpointer(saver, retry_after=0, retry_cap=0.1) as checkpointer,
    ):
        graph = make().compile(checkpointer=checkpointer)
        first, *between, last = TURNS
        graph.invoke(first, CONFIG)
        server.kill()
        for given in between:
            graph.invoke(given, CONFIG)
        assert checkpointer.is_degraded()
        server.start()
        wait_until(checkpointer.recover, "it does not recover")
        assert checkpointer.rejected() == []
        alone = graph.copy({"checkpointer": saver})
        assert alone.get_state(CONFIG, subgraphs=True) == graph.get_state(CONFIG, subgraphs=True)
        assert alone.invoke(last, CONFIG) == expected


@pytest.mark.soak
def test_a_graph_goes_on_without_postgresql_in_asyncio(server, url):
    require_interrupts(in_asyncio=True)

    async def run():
        async with (
            async_postgres_saver(url, TIMEOUT) as saver,
            FallbackCheckpointer(saver, retry_after=0, retry_cap=0.1) as checkpointer,
        ):
            graph = approval().compile(checkpointer=checkpointer)
            await graph.ainvoke({"log": ["a"]}, CONFIG)
            server.kill()
            done = await graph.ainvoke(ANSWER, CONFIG)
            told = await graph.aget_state(CONFIG)
            assert checkpointer.is_degraded()
            server.start()
            while not await checkpointer.arecover():  # the pool connects again in its own time
                pass
            assert checkpointer.rejected() == []
            alone = graph.copy({"checkpointer": saver})
            assert await alone.aget_state(CONFIG) == told
            assert told.values == done

    asyncio.run(run())


def test_nobody_waits_longer_than_the_timeout_for_a_server_that_says_nothing(server, url):
    with (
        postgres_saver(url) as saver,
        FallbackCheckpointer(saver, retry_after=30, timeout=1) as checkpointer,
    ):
        graph = approval().compile(checkpointer=checkpointer)
        threads = [{"configurable": {"thread_id": str(number)}} for number in range(3)]
        for thread in threads:
            graph.invoke({"log": ["a"]}, thread)
        server.freeze()
        try:
            for thread in threads:
                assert graph.invoke(ANSWER, thread)["log"][-1] == "end"
            assert checkpointer.is_degraded()
        finally:
            server.thaw()
        wait_until(checkpointer.recover, "it does not recover")
        alone = graph.copy({"checkpointer": saver})
        for thread in threads:
            assert alone.get_state(thread) == graph.get_state(thread)
            assert len(list(alone.get_state_history(thread))) == 5
