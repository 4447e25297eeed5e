"""What is known of a thread in an outage: never less than was acknowledged, nor taken for none."""

from __future__ import annotations

import threading

import pytest
from graphs import State, nested, says
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.graph import START, StateGraph
from langgraph.types import Command
from savers import Cut

from langgraph_sessionstore import FallbackCheckpointer, held
from langgraph_sessionstore.threads import Thread
from sessionstore import OutageError

CONFIG = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
ANSWER = Command(resume="yes")


def config(thread, namespace=""):
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace}}


def put(saver, config):
    return saver.put(config, empty_checkpoint(), {}, {})


@pytest.fixture
def saver():
    return Cut()


@pytest.fixture
def checkpointer(saver):
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as made:
        yield made
        saver.is_away = False


def test_an_older_checkpoint_of_a_thread_that_others_went_on_with_is_not_none(checkpointer, saver):
    assert checkpointer.get_tuple(CONFIG) is None
    ours = put(checkpointer, CONFIG)
    put(saver, ours)
    checkpointer.get_tuple(CONFIG)
    saver.is_away = True
    with pytest.raises(OutageError):
        checkpointer.get_tuple(ours)


def test_a_thread_taken_for_empty_stays_so_when_the_primary_takes_its_first_step(
    checkpointer, saver
):
    saver.is_away = True
    assert checkpointer.get_tuple(CONFIG) is None
    saver.is_away = False
    assert checkpointer.recover()
    put(checkpointer, CONFIG)
    saver.is_away = True
    assert checkpointer.get_tuple(config("t", "inner")) is None


@pytest.mark.parametrize("stops", [[], ["inner"]])
def test_a_subgraph_that_others_began_is_not_begun_again(checkpointer, saver, stops):
    graph, alone = nested(), nested().compile(checkpointer=saver)
    ours = graph.compile(checkpointer=checkpointer, interrupt_before=stops)
    if stops:
        ours.invoke({"log": ["a"]}, CONFIG)
    else:
        ours.get_state(CONFIG)
    alone.invoke(None if stops else {"log": ["a"]}, CONFIG)
    ours.get_state(CONFIG)
    saver.is_away = True
    with pytest.raises(OutageError):
        graph.compile(checkpointer=checkpointer).invoke(ANSWER, CONFIG, durability="sync")


def remembering():
    """A graph with a subgraph that goes on from its last run."""
    inner = StateGraph(State)
    inner.add_node("count", lambda state: {"log": [str(len(state["log"]))]})
    inner.add_edge(START, "count")
    outer = StateGraph(State)
    outer.add_node("begin", says("begin"))
    outer.add_node("inner", inner.compile(checkpointer=True))
    outer.add_edge(START, "begin")
    outer.add_edge("begin", "inner")
    return outer


def test_a_subgraph_that_remembers_does_not_begin_anew(checkpointer, saver):
    graph = remembering().compile(checkpointer=checkpointer)
    graph.copy({"checkpointer": saver}).invoke({"log": ["a"]}, CONFIG)
    graph.get_state(CONFIG)
    saver.is_away = True
    with pytest.raises(OutageError):
        graph.invoke({"log": ["b"]}, CONFIG, durability="sync")


def test_a_subgraph_that_remembers_begins_in_an_outage(checkpointer, saver):
    undisturbed = remembering().compile(checkpointer=Cut())
    graph = remembering().compile(checkpointer=checkpointer)
    saver.is_away = True
    for word in "ab":
        expected = undisturbed.invoke({"log": [word]}, CONFIG)
        assert graph.invoke({"log": [word]}, CONFIG) == expected


def test_writes_to_an_older_checkpoint_that_is_known_are_known(checkpointer, saver):
    saver.is_away = True
    older = put(checkpointer, CONFIG)
    put(checkpointer, older)
    saver.is_away = False
    assert checkpointer.recover()
    checkpointer.put_writes(older, [("log", 1)], "task")
    saver.put_writes(older, [("log", 2)], "task of others")
    there = checkpointer.get_tuple(older)
    saver.is_away = True
    assert len(there.pending_writes) == 2
    assert checkpointer.get_tuple(older).pending_writes == there.pending_writes


def test_a_checkpoint_that_was_read_by_its_id_is_not_forgotten(checkpointer, saver):
    older = put(checkpointer, CONFIG)
    newer = put(saver, older)
    elsewhere = put(saver, config("elsewhere"))
    for each in (newer, elsewhere):
        assert checkpointer.get_tuple(each)
    saver.is_away = True
    assert checkpointer.get_tuple(CONFIG).config == newer
    with pytest.raises(OutageError):
        checkpointer.get_tuple(config("elsewhere"))


def test_a_thread_that_is_known_in_part_is_not_empty(saver):
    with FallbackCheckpointer(saver, max_threads=1, retry_after=30) as checkpointer:
        for each in (config("t"), config("u"), config("t", "inner:1")):
            put(checkpointer, each)
        saver.is_away = True
        with pytest.raises(OutageError):
            checkpointer.get_tuple(config("t"))


def test_the_thread_in_use_never_leaves(saver, monkeypatch):
    take = saver.put

    def picky(asked, *args):
        if asked["configurable"]["thread_id"] == "late":
            raise TimeoutError
        return take(asked, *args)

    monkeypatch.setattr(saver, "put", picky)
    with FallbackCheckpointer(saver, max_threads=1, retry_after=30) as checkpointer:
        put(checkpointer, config("late"))
        put(checkpointer, config("t"))
        saver.is_away = True
        assert checkpointer.get_tuple(config("t"))
        saver.is_away = False
        monkeypatch.undo()
        assert checkpointer.recover()


def test_a_list_of_all_lacks_nothing_that_waited(checkpointer, saver):
    saver.is_away = True
    for number in range(100):
        put(checkpointer, config(str(number)))
    saver.is_away = False
    assert len(list(checkpointer.list(None))) == 100


def test_a_thread_that_was_pruned_or_copied_is_not_taken_for_empty(checkpointer, saver):
    saver.prune = saver.copy_thread = lambda *_, **__: None
    put(checkpointer, CONFIG)
    checkpointer.prune(["t"])
    checkpointer.copy_thread("t", "u")
    saver.is_away = True
    for thread in "tu":
        with pytest.raises(OutageError):
            checkpointer.get_tuple(config(thread))


def test_a_checkpoint_that_is_being_put_is_not_listed_half_done(checkpointer, saver, monkeypatch):
    saver.is_away = True
    first = put(checkpointer, CONFIG)
    listed, begun, value, every = [], threading.Event(), held.Value, Thread.all
    reader = threading.Thread(target=lambda: listed.extend(checkpointer.list(CONFIG)))

    def read_as_it_is_put(thread, namespace):
        begun.set()
        may_go_on.wait(1)
        return every(thread, namespace)

    def value_in_midst(*args, **named):
        made = value(*args, **named)
        if len(values) == 2:  # the checkpoint is there, and its config and parent are not
            may_go_on.set()
            reader.join(1)
        values.append(made)
        return made

    values, may_go_on = [], threading.Event()
    monkeypatch.setattr(Thread, "all", read_as_it_is_put)
    reader.start()
    begun.wait(5)
    monkeypatch.setattr(held, "Value", value_in_midst)
    put(checkpointer, first)
    reader.join(5)
    assert [each.parent_config for each in listed] in ([None], [first, None])
