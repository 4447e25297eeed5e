"""`FallbackCheckpointer` passes LangGraph's own suite over each saver, and in an outage."""

from __future__ import annotations

import asyncio
import contextlib
import uuid

import aiosqlite
import psycopg
import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from postgres_savers import async_postgres_saver, postgres_saver
from savers import Cut, Threaded, lacks

from langgraph_sessionstore import FallbackCheckpointer


@pytest.fixture
def database(postgres):
    """Give the URL of an empty database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres.url(), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        yield postgres.url(name)
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.asynccontextmanager
async def in_memory(_):
    yield InMemorySaver()


@contextlib.asynccontextmanager
async def async_sqlite(_):
    async with aiosqlite.connect(":memory:") as connection:
        yield AsyncSqliteSaver(connection)


@contextlib.asynccontextmanager
async def sqlite_in_threads(_):
    with SqliteSaver.from_conn_string(":memory:") as saver:
        yield Threaded(saver)


@contextlib.asynccontextmanager
async def postgres_in_threads(url):
    with postgres_saver(url) as saver:
        yield Threaded(saver)


async def report_on(opened, url, **options):
    async with opened(url) as saver:

        @checkpointer_test("fallback", skip_capabilities=lacks(getattr(saver, "saver", saver)))
        async def checkpointer():
            async with FallbackCheckpointer(saver, **options) as wrapped:
                yield wrapped

        return await validate(checkpointer)


def require_passed(report):
    assert not [failure for result in report.results.values() for failure in result.failures]
    assert {"put", "list", "delete_thread"} <= {
        name for name, result in report.results.items() if result.tests_passed
    }


@pytest.mark.parametrize("opened", [in_memory, async_sqlite, sqlite_in_threads])
def test_it_passes_the_suite_of_langgraph(opened):
    require_passed(asyncio.run(report_on(opened, None)))


@pytest.mark.parametrize("opened", [async_postgres_saver, postgres_in_threads])
def test_it_passes_the_suite_of_langgraph_over_postgresql(opened, database):
    require_passed(asyncio.run(report_on(opened, database)))


def test_what_a_saver_lacks_raises_as_it_does_there():
    async def asked(checkpointer):
        for call in (
            checkpointer.acopy_thread("a", "b"),
            checkpointer.aprune(["a"]),
            checkpointer.adelete_for_runs(["r"]),
        ):
            with pytest.raises(NotImplementedError):
                await call

    assert lacks(InMemorySaver()) == {"copy_thread", "prune", "delete_for_runs"}
    asyncio.run(asked(FallbackCheckpointer(InMemorySaver())))


@pytest.mark.parametrize("kind", ["in-memory", "file"])
def test_it_passes_the_suite_of_langgraph_in_an_outage(kind, tmp_path):
    @contextlib.asynccontextmanager
    async def away(_):
        saver = Cut()
        saver.is_away = True
        yield saver

    fallback = "in-memory" if kind == "in-memory" else f"sqlite:///{tmp_path}/journal.db"
    report = asyncio.run(report_on(away, None, fallback=fallback, retry_after=30))
    # That there is no such checkpoint, only the primary can tell.
    failures = report.results["get_tuple"].failures
    assert [failure.partition(":")[0] for failure in failures] == [
        "test_get_tuple_nonexistent_checkpoint_id"
    ]
    failures.clear()
    require_passed(report)


class Flapping(Cut):
    """A saver of whose calls every third fails, and of whose answers every fifth is lost."""

    answered = 0

    def _reach(self):
        super()._reach()
        if self.asked % 3 == 0:
            raise ConnectionError

    def _answer(self):
        self.answered += 1
        if self.answered % 5 == 0:
            raise ConnectionError


def test_it_passes_the_suite_of_langgraph_while_the_saver_comes_and_goes():
    @contextlib.asynccontextmanager
    async def flapping(_):
        yield Flapping()

    report = asyncio.run(report_on(flapping, None, retry_after=0, retry_cap=0))
    report.results["list"].failures.clear()  # what was before an outage is not all known in it
    failures = report.results["get_tuple"].failures
    failures[:] = [each for each in failures if "nonexistent_checkpoint_id" not in each]
    require_passed(report)


def test_every_method_is_handed_on():
    inherited = {"get", "aget", "with_allowlist", "serde"}
    public = {name for name in vars(BaseCheckpointSaver) if not name.startswith("_")} - inherited
    assert public <= set(vars(FallbackCheckpointer))
