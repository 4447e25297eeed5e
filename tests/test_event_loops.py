"""What lives once for each event loop: whose it is, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from sessionstore._runtime.event_loops import PerLoop


class Thing:
    """What a loop has; it takes note of how it ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[str, int]] = []
        self.in_knot = self

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.ends.append(("closed", threading.get_ident()))

    def abandon(self) -> None:
        self.ends.append(("abandoned", threading.get_ident()))

    @property
    def how(self) -> list[str]:
        return [how for how, _ in self.ends]


def per_loop() -> PerLoop[Thing]:
    return PerLoop(Thing.close, Thing.abandon)


async def kept(things: PerLoop[Thing]) -> Thing:
    """Give that of the running loop."""
    return things.here() or things.keep(Thing())


@contextmanager
def running_elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def on(loop: asyncio.AbstractEventLoop, things: PerLoop[Thing]) -> Thing:
    return asyncio.run_coroutine_threadsafe(kept(things), loop).result()


def passed(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until a loop has done what it was told to."""
    asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result()


def test_each_loop_has_its_own() -> None:
    things = per_loop()

    async def main() -> list[Thing]:
        assert things.here() is None
        return [await kept(things), await kept(things)]

    with running_elsewhere() as other:
        first, again = asyncio.run(main())
        assert first is again
        elsewhere = on(other, things)
        assert elsewhere is not first
        assert things.all() == [elsewhere]
    assert asyncio.run(main())[0] is not first


def test_it_is_closed_in_order_by_a_loop_that_ends_in_order() -> None:
    things = per_loop()
    thing = asyncio.run(kept(things))
    assert thing.how == ["closed"]
    assert things.all() == []


def test_it_is_abandoned_at_once_where_its_loop_is_closed_at_once() -> None:
    """Without the collector, also where it is in a knot and somebody still holds it."""
    things = per_loop()
    gc.disable()
    try:
        loop = asyncio.new_event_loop()
        thing = loop.run_until_complete(kept(things))
        loop.close()
        assert thing.how == ["abandoned"]
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:unclosed event loop:ResourceWarning")
def test_it_is_abandoned_where_its_loop_is_collected() -> None:
    things = per_loop()

    def use() -> list[tuple[str, int]]:
        loop = asyncio.new_event_loop()
        return loop.run_until_complete(kept(things)).ends

    ends = use()
    gc.collect()
    assert [how for how, _ in ends] == ["abandoned"]


def test_one_that_leads_to_its_loop_goes_with_it() -> None:
    """As connections do: what is kept must not keep the loop."""
    things = per_loop()
    loop = asyncio.new_event_loop()
    thing = loop.run_until_complete(kept(things))
    thing.in_knot = loop  # type: ignore[assignment]
    ends, gone = thing.ends, weakref.ref(loop)
    del loop, thing
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        gc.collect()
    assert gone() is None
    assert [how for how, _ in ends] == ["abandoned"]


def test_closing_ends_that_of_a_running_loop_there() -> None:
    things = per_loop()
    with running_elsewhere() as loop:
        thing = on(loop, things)
        things.close()
        passed(loop)
        assert thing.how == ["abandoned"]
        assert thing.ends[0][1] != threading.get_ident()
        assert on(loop, things) is not thing
    assert thing.how == ["abandoned"]


def test_closing_ends_that_of_an_idle_loop_at_once() -> None:
    things = per_loop()
    loop = asyncio.new_event_loop()
    thing = loop.run_until_complete(kept(things))
    things.close()
    assert thing.how == ["abandoned"]
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    assert thing.how == ["abandoned"]


def test_closing_async_ends_that_of_the_loop_in_order_and_all_others() -> None:
    things = per_loop()

    async def main(other: asyncio.AbstractEventLoop) -> None:
        mine, elsewhere = await kept(things), await asyncio.to_thread(on, other, things)
        await things.aclose()
        assert mine.how == ["closed"]
        await asyncio.to_thread(passed, other)
        assert elsewhere.how == ["abandoned"]
        assert things.all() == []

    with running_elsewhere() as other:
        asyncio.run(main(other))


@pytest.mark.parametrize("knotted", [False, True])
def test_who_drops_them_all_leaves_none_open(knotted: bool) -> None:
    things: Any = per_loop()
    things.knot = things if knotted else None
    idle = asyncio.new_event_loop()
    with running_elsewhere() as loop:
        both = [on(loop, things), idle.run_until_complete(kept(things))]
        del things
        gc.collect()
        passed(loop)
        assert [thing.how for thing in both] == [["abandoned"], ["abandoned"]]
    idle.close()


def test_a_close_that_is_cancelled_is_made_up_for() -> None:
    things = per_loop()

    async def main() -> Thing:
        thing = await kept(things)
        closing = asyncio.create_task(things.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert thing.how == []
        return thing

    assert asyncio.run(main()).how == ["abandoned"]


def test_what_has_ended_is_not_held_by_a_loop_that_goes_on() -> None:
    async def main() -> None:
        for end in (PerLoop.aclose, PerLoop.close):
            things = per_loop()
            gone = weakref.ref(await kept(things))
            ending = end(things)
            if ending is not None:
                await ending
            await asyncio.sleep(0)
            gc.collect()
            assert gone() is None

    asyncio.run(main())


def test_other_generators_of_the_loop_are_closed_by_it_as_ever() -> None:
    ended: list[bool] = []

    async def counted() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            await asyncio.sleep(0)
            ended.append(True)

    async def main() -> None:
        await kept(per_loop())
        async for _ in counted():
            break
        gc.collect()
        for _ in range(3):
            await asyncio.sleep(0)
        assert ended

    asyncio.run(main())


def test_it_does_not_hold_what_its_first_caller_had_in_its_context() -> None:
    held: ContextVar[Thing] = ContextVar("held")
    things = per_loop()

    async def call() -> weakref.ref[Thing]:
        thing = Thing()
        held.set(thing)
        await kept(things)
        return weakref.ref(thing)

    async def main() -> None:
        gone = await asyncio.create_task(call())
        await asyncio.sleep(0)  # asyncio's own hold of it
        gc.collect()
        assert gone() is None

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_leaves_that_of_its_parent_alone_and_has_its_own() -> None:
    things = per_loop()
    loop = asyncio.new_event_loop()
    thing = loop.run_until_complete(kept(things))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            mine = loop.run_until_complete(kept(things))
            things.close()
            loop.close()
            assert (thing.how, mine.how) == ([], ["abandoned"])
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert thing.how == []
    assert loop.run_until_complete(kept(things)) is thing
    loop.close()
    assert thing.how == ["abandoned"]


def test_the_end_of_the_process_ends_what_no_loop_has_ended() -> None:
    program = """
import asyncio, os, threading
from sessionstore._runtime.event_loops import PerLoop
async def close(thing): print("closed", thing)
things = PerLoop(close, lambda thing: print("abandoned", thing))
async def keep(thing): things.keep(thing)
loops = [asyncio.new_event_loop() for _ in range(2)]
loops[0].run_until_complete(keep("idle"))
threading.Thread(target=loops[1].run_forever, daemon=True).start()
asyncio.run_coroutine_threadsafe(keep("running"), loops[1]).result()
asyncio.run(keep("ended"))
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines() == ["closed ended", "abandoned idle"]
