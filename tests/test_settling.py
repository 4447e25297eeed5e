"""Waiting for a save to its end beneath anyio's cancel scopes, which cancel without a pause."""

from __future__ import annotations

import asyncio
import time

import anyio
import pytest
from langchain_core.runnables import RunnableLambda

from langchain_sessionstore import with_session_history
from sessionstore import InMemorySessionStore
from sessionstore._runtime.settling import ended

CONFIG = {"configurable": {"session_id": "s"}}
SAVE = 0.4


class SlowToSave(InMemorySessionStore):
    def __init__(self):
        super().__init__()
        self.saving = asyncio.Event()
        self.answered = False

    async def arun(self, operation):
        if self.answered:
            self.saving.set()
            await asyncio.sleep(SAVE)
        return await super().arun(operation)


async def in_a_scope(store, work):
    """Do a work in a scope that is cancelled while its turn is saved; give what that costs."""
    costs = []
    with anyio.CancelScope() as scope:

        async def cancel():
            await store.saving.wait()
            costs.append(time.thread_time())
            scope.cancel()

        cancelling = asyncio.create_task(cancel())
        await work
    costs.append(time.thread_time())
    await cancelling
    assert scope.cancelled_caught
    return costs[1] - costs[0]


@pytest.mark.parametrize("task", ["its own", "of another"])
def test_a_save_in_a_cancelled_scope_keeps_no_core_busy(task):
    async def main():
        store = SlowToSave()

        async def answer(_):
            store.answered = True
            return "fine"

        chain = with_session_history(RunnableLambda(lambda _: "", afunc=answer), store)

        async def call():
            return await chain.ainvoke("hello", CONFIG)

        work = call() if task == "its own" else asyncio.create_task(call())
        cost = await in_a_scope(store, work)
        assert len(store.get_messages("s")) == 2
        assert cost < SAVE / 4

    asyncio.run(main())


@pytest.mark.parametrize("task", ["its own", "of another"])
def test_other_tasks_of_the_loop_go_on_meanwhile(task):
    async def main():
        store, turns = SlowToSave(), 0

        async def work():
            store.saving.set()
            try:
                await asyncio.sleep(9)
            except asyncio.CancelledError:
                await ended(asyncio.ensure_future(asyncio.sleep(SAVE)))
                raise

        async def others():
            nonlocal turns
            while True:
                await asyncio.sleep(0.001)
                turns += 1

        other = asyncio.create_task(others())
        await in_a_scope(store, work() if task == "its own" else asyncio.create_task(work()))
        other.cancel()
        assert turns > 20

    asyncio.run(main())


def test_a_task_that_is_cancelled_repeatedly_waits_for_its_work():
    async def main():
        async def work():
            try:
                await asyncio.sleep(9)
            except asyncio.CancelledError:
                await ended(asyncio.ensure_future(asyncio.sleep(0.1)))
                raise

        worker = asyncio.create_task(work())
        for _ in range(4):
            await asyncio.sleep(0.01)
            worker.cancel()
        assert not worker.done()
        await asyncio.wait([worker])
        assert worker.cancelled()

    asyncio.run(main())


def test_work_that_fails_or_is_done_is_ended():
    async def main():
        async def fail():
            raise KeyError

        work = asyncio.ensure_future(fail())
        await ended(work)
        await ended(work)
        with pytest.raises(KeyError):
            work.result()

    asyncio.run(main())
