"""Graphs in an outage: they run, stop, are resumed, and the primary holds all of it in the end."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from graphs import approval, fanned_out, nested, remembering, require_interrupts
from langgraph.types import Command
from savers import Cut

from langgraph_sessionstore import FallbackCheckpointer
from sessionstore import OutageError, StoreUnavailableError

CONFIG = {"configurable": {"thread_id": "t"}}
ANSWER = Command(resume="yes")


@pytest.fixture
def saver():
    return Cut()


@pytest.fixture
def checkpointer(saver):
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as made:
        yield made
        saver.is_away = saver.loses_answers = False


@pytest.fixture(params=["sync", "async"])
def do(request):
    """Call a graph's method, sync or async."""
    if request.param == "sync":
        return lambda graph, name, *args, **named: _listed(getattr(graph, name)(*args, **named))
    require_interrupts(in_asyncio=True)
    return lambda graph, name, *args, **named: asyncio.run(_done(graph, name, *args, **named))


def _listed(result):
    return list(result) if hasattr(result, "__next__") else result


async def _done(graph, name, *args, **named):
    result = getattr(graph, f"a{name}")(*args, **named)
    return [each async for each in result] if hasattr(result, "__anext__") else await result


def states(graph, config=CONFIG):
    """Give all that a thread's history says of it."""
    return [
        (each.values, each.next, each.config, each.parent_config, each.interrupts, each.metadata)
        for each in graph.get_state_history(config)
    ]


def require_recovered(checkpointer, saver, graph, config=CONFIG):
    """Have all replayed, and require the primary alone to say what the checkpointer said."""
    told = graph.get_state(config, subgraphs=True)
    saver.is_away = saver.loses_answers = False
    assert checkpointer.recover()
    assert checkpointer.pending() == checkpointer.rejected() == []
    alone = graph.copy({"checkpointer": saver})
    assert alone.get_state(config, subgraphs=True) == told
    assert states(alone, config) == states(graph, config)
    return alone


# -- Graphs ---------------------------------------------------------------------------------------


def test_a_graph_that_waits_for_an_answer_is_resumed_in_an_outage(checkpointer, saver, do):
    graph = approval().compile(checkpointer=checkpointer)
    stopped = do(graph, "invoke", {"log": ["a"]}, CONFIG)
    assert stopped["__interrupt__"]
    saver.is_away = True
    assert do(graph, "get_state", CONFIG).next == ("ask",)
    done = do(graph, "invoke", ANSWER, CONFIG)
    assert done["log"] == ["a", "begin", "yes", "left", "right", "end"]
    assert checkpointer.is_degraded()
    require_recovered(checkpointer, saver, graph)


def test_a_graph_begins_stops_and_ends_in_an_outage(checkpointer, saver, do):
    saver.is_away = True
    graph = approval().compile(checkpointer=checkpointer)
    streamed = do(graph, "stream", {"log": ["a"]}, CONFIG, stream_mode="updates")
    assert any("__interrupt__" in each for each in streamed)
    assert len(do(graph, "get_state_history", CONFIG)) == 3
    do(graph, "update_state", CONFIG, {"log": ["between"]}, as_node="left")
    do(graph, "invoke", ANSWER, CONFIG)
    require_recovered(checkpointer, saver, graph)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_subgraph_that_waits_is_resumed_in_an_outage(checkpointer, saver, do, durability):
    graph = nested().compile(checkpointer=checkpointer)
    do(graph, "invoke", {"log": ["a"]}, CONFIG, durability=durability)
    saver.is_away = True
    (task,) = do(graph, "get_state", CONFIG, subgraphs=True).tasks
    assert task.state.values["log"] == ["a", "begin", "inner step"]
    done = do(graph, "invoke", ANSWER, CONFIG, durability=durability)
    assert done["log"][-2:] == ["inner step", "yes"]
    require_recovered(checkpointer, saver, graph)


def test_many_subgraphs_that_wait_at_once_are_resumed_in_an_outage(checkpointer, saver):
    graph = fanned_out(12).compile(checkpointer=checkpointer)
    waiting = graph.invoke({"log": ["a"]}, CONFIG)["__interrupt__"]
    saver.is_away = True
    for answered in (waiting[:5], waiting[5:]):
        done = graph.invoke(Command(resume={each.id: "yes" for each in answered}), CONFIG)
    parts = [word for number in range(12) for word in (f"{number}: step", f"{number}: yes")]
    assert done["log"] == ["a", *parts, "end"]
    require_recovered(checkpointer, saver, graph)


def test_a_subgraph_with_a_memory_of_its_own_remembers_in_an_outage(checkpointer, saver):
    graph = remembering().compile(checkpointer=checkpointer)
    for turn, away in enumerate([False, True, True, False, True]):
        saver.is_away = away
        done = graph.invoke({"log": ["a"]}, CONFIG)
        assert done["log"][-1] == f"seen {2 * turn + 1}"
    require_recovered(checkpointer, saver, graph)


def test_the_outage_begins_and_ends_in_the_middle_of_runs(checkpointer, saver, do):
    graph = approval().compile(checkpointer=checkpointer)
    for turn, away in enumerate([False, True, True, False, True, False]):
        saver.is_away = away
        do(graph, "invoke", {"log": [f"turn {turn}"]}, CONFIG)
        saver.is_away = not away
        do(graph, "invoke", ANSWER, CONFIG)
    graph_alone = require_recovered(checkpointer, saver, graph)
    assert graph_alone.get_state(CONFIG).values["log"].count("yes") == 6


def test_answers_that_were_lost_are_harmless(checkpointer, saver, do):
    graph = approval().compile(checkpointer=checkpointer)
    do(graph, "invoke", {"log": ["a"]}, CONFIG)
    saver.loses_answers = True
    do(graph, "invoke", ANSWER, CONFIG)
    alone = require_recovered(checkpointer, saver, graph)
    assert alone.get_state(CONFIG).values["log"].count("yes") == 1


def test_a_thread_that_is_deleted_in_an_outage_begins_anew(checkpointer, saver, do):
    graph = approval().compile(checkpointer=checkpointer)
    do(graph, "invoke", {"log": ["a"]}, CONFIG)
    saver.is_away = True
    do(checkpointer, "delete_thread", "t")
    assert do(graph, "get_state", CONFIG).values == {}
    do(graph, "invoke", {"log": ["b"]}, CONFIG)
    alone = require_recovered(checkpointer, saver, graph)
    assert len(states(alone)) == 3


# -- Recovery -------------------------------------------------------------------------------------


def test_a_call_replays_its_thread_first_and_a_little_of_the_others(checkpointer, saver):
    graph = approval().compile(checkpointer=checkpointer)
    threads = [{"configurable": {"thread_id": str(number)}} for number in range(3)]
    saver.is_away = True
    for thread in threads:
        graph.invoke({"log": ["a"]}, thread)
    saver.is_away = False
    graph.invoke(ANSWER, threads[0])
    assert not checkpointer.is_degraded()
    assert checkpointer.pending() == []
    for thread in threads:
        require_recovered(checkpointer, saver, graph, thread)


def test_what_others_put_meanwhile_stays_and_the_log_says_so(checkpointer, saver, caplog):
    graph = approval().compile(checkpointer=checkpointer)
    alone = graph.copy({"checkpointer": saver})
    graph.invoke({"log": ["a"]}, CONFIG)
    saver.is_away = True
    graph.invoke(ANSWER, CONFIG)
    mine = graph.get_state(CONFIG)
    saver.is_away = False
    alone.invoke(Command(resume="no"), CONFIG)
    theirs = alone.get_state(CONFIG)
    with caplog.at_level(logging.WARNING, "sessionstore"):
        assert checkpointer.recover()
    assert "both lines are kept" in caplog.text
    ids = [each.config for each in alone.get_state_history(CONFIG)]
    assert mine.config in ids
    assert graph.get_state(CONFIG).values == theirs.values


def test_what_the_primary_refuses_is_set_aside(checkpointer, saver, monkeypatch):
    graph = approval().compile(checkpointer=checkpointer)
    saver.is_away = True
    graph.invoke({"log": ["a"]}, CONFIG)
    saver.is_away = False
    refused = {each.checkpoint_id for each in checkpointer.pending() if each.method == "put"}
    put = saver.put

    def picky(config, checkpoint, *args):
        if checkpoint["id"] == min(refused):
            raise ValueError("no")
        return put(config, checkpoint, *args)

    monkeypatch.setattr(saver, "put", picky)
    assert checkpointer.recover()
    (rejected,) = checkpointer.rejected()
    assert (rejected.method, rejected.thread_id, rejected.checkpoint_id) == (
        "put",
        "t",
        min(refused),
    )
    assert rejected.arguments()[1]["id"] == min(refused)
    assert "'a'" not in repr(rejected)


def test_a_thread_that_is_not_answered_in_time_is_left_alone(checkpointer, saver, monkeypatch):
    graph = approval().compile(checkpointer=checkpointer)
    other = {"configurable": {"thread_id": "other"}}
    for thread in (CONFIG, other):
        graph.invoke({"log": ["a"]}, thread)
    put_writes = saver.put_writes

    def locked(config, *args):
        if config["configurable"]["thread_id"] == "t":
            raise TimeoutError
        return put_writes(config, *args)

    monkeypatch.setattr(saver, "put_writes", locked)
    for thread in (CONFIG, other):
        assert graph.invoke(ANSWER, thread)["log"][-1] == "end"
    assert not checkpointer.is_degraded()
    assert {each.thread_id for each in checkpointer.pending()} == {"t"}
    monkeypatch.undo()
    require_recovered(checkpointer, saver, graph)


# -- What can't be promised -----------------------------------------------------------------------


def test_only_the_primary_prunes_and_copies(checkpointer, saver):
    saver.is_away = True
    assert checkpointer.get_tuple(CONFIG) is None
    for call in (
        lambda: checkpointer.prune(["t"]),
        lambda: checkpointer.copy_thread("t", "u"),
        lambda: checkpointer.delete_for_runs(["r"]),
        lambda: checkpointer.get_delta_channel_history(config=CONFIG, channels=["log"]),
    ):
        with pytest.raises(OutageError):
            call()


def test_an_old_checkpoint_is_not_taken_for_none(checkpointer, saver):
    graph = approval().compile(checkpointer=checkpointer)
    graph.invoke({"log": ["a"]}, CONFIG)
    graph.invoke(ANSWER, CONFIG)
    *_, oldest = graph.get_state_history(CONFIG)
    saver.is_away = True
    with pytest.raises(OutageError):
        graph.get_state(oldest.config)


def test_a_thread_never_seen_can_be_refused(saver):
    saver.is_away = True
    with FallbackCheckpointer(saver, unknown="raise") as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        with pytest.raises(OutageError):
            graph.invoke({"log": ["a"]}, CONFIG)
        assert checkpointer.pending() == []


def test_nobody_waits_for_the_primary_twice(saver):
    with FallbackCheckpointer(saver, retry_after=30) as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        graph.invoke({"log": ["a"]}, CONFIG)
        saver.is_away = True
        asked = saver.asked
        graph.invoke(ANSWER, CONFIG)
        assert saver.asked == asked + 1
        saver.is_away = False
        assert checkpointer.recover()


def test_who_waited_behind_a_call_fails_with_it(saver):
    others, begun, goes_on = 8, threading.Event(), threading.Event()
    graph = approval().compile(checkpointer=saver)
    graph.invoke({"log": ["a"]}, CONFIG)

    def blocked(_):
        saver.asked += 1
        begun.set()
        assert goes_on.wait(60)
        raise ConnectionError

    saver.lock = threading.Lock()  # as LangGraph's savers have, which serve one call at a time
    saver.get_tuple, saver.asked = blocked, 0
    with (
        FallbackCheckpointer(saver, retry_after=30) as checkpointer,
        ThreadPoolExecutor(others + 1) as pool,
    ):
        first = pool.submit(checkpointer.get_tuple, CONFIG)
        assert begun.wait(60)
        waiting = [pool.submit(checkpointer.get_tuple, CONFIG) for _ in range(others)]
        goes_on.set()
        assert [each.result() for each in [first, *waiting]] == [None] * (others + 1)
    assert saver.asked <= 2


def test_who_waited_behind_a_call_fails_with_it_in_asyncio(saver):
    async def run():
        async def blocked(_):
            saver.asked += 1
            await asyncio.sleep(0)  # the others come to wait
            raise ConnectionError

        saver.lock = asyncio.Lock()
        saver.aget_tuple = blocked
        async with FallbackCheckpointer(saver, retry_after=30) as checkpointer:
            waiting = (checkpointer.aget_tuple(CONFIG) for _ in range(8))
            assert await asyncio.gather(*waiting) == [None] * 8

    asyncio.run(run())
    assert saver.asked == 1


def test_a_full_journal_refuses_and_drops_nothing(saver):
    saver.is_away = True
    with FallbackCheckpointer(saver, max_pending=2) as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        with pytest.raises(StoreUnavailableError):
            graph.invoke({"log": ["a"]}, CONFIG, durability="sync")
        assert len(checkpointer.pending()) == 2
        saver.is_away = False
        assert checkpointer.recover()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (TypeError, {"primary": None}),
        (TypeError, {"timeout": "1"}),
        (ValueError, {"timeout": 0}),
        (ValueError, {"unknown": "forget"}),
        (ValueError, {"max_threads": 0}),
        (TypeError, {"max_threads": 1.5}),
        (TypeError, {"is_outage": "yes"}),
        (ValueError, {"retry_after": -1}),
        (ValueError, {"fallback": "nowhere"}),
    ],
)
def test_options_that_are_not_valid_are_refused(saver, error, named):
    with pytest.raises(error):
        FallbackCheckpointer(**{"primary": saver, **named})


def test_the_callers_own_mistakes_reach_them(checkpointer, saver, monkeypatch):
    def refuse(*_):
        raise ValueError("no")

    monkeypatch.setattr(saver, "put", refuse)
    graph = approval().compile(checkpointer=checkpointer)
    with pytest.raises(ValueError, match="no"):
        graph.invoke({"log": ["a"]}, CONFIG)
    assert not checkpointer.is_degraded()
