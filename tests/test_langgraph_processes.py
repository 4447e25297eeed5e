"""A file as the fallback of a checkpointer: it outlives processes, and several share it."""

from __future__ import annotations

import pytest
from children import Children
from graphs import approval, nested
from langgraph.types import Command
from savers import CutFile

from langgraph_sessionstore import FallbackCheckpointer

ANSWER = Command(resume="yes")
PROGRAM = """
    import os, signal, sys
    from graphs import approval, nested
    from langgraph.types import Command
    from langgraph_sessionstore import FallbackCheckpointer
    from savers import CutFile

    folder = sys.argv[1]
    saver = CutFile(f"{folder}/primary.db")
    checkpointer = FallbackCheckpointer(saver, fallback=f"sqlite:///{folder}/journal.db")
    begun = {"log": ["a"]}

    def run(graph, thread, *given):
        built = graph.compile(checkpointer=checkpointer)
        for each in given:
            built.invoke(each, {"configurable": {"thread_id": thread}}, durability="sync")
"""
DIES_IN_AN_OUTAGE = (
    PROGRAM
    + """
    run(approval(), "seen before", begun)
    run(nested(), "nested", begun)
    saver.is_away = True
    run(approval(), "seen before", Command(resume="yes"), begun)
    run(approval(), "new", begun)
    run(nested(), "nested", Command(goto="begin", update={"log": ["b"]}))
    print("ready", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
)
SHARES_A_FILE = (
    PROGRAM
    + """
    saver.is_away = True
    thread = sys.argv[2]
    run(approval(), thread, begun)
    print("ready", flush=True)
    input()
    saver.is_away = False
    run(approval(), thread, Command(resume=thread))
    while not checkpointer.recover():
        pass
    assert checkpointer.rejected() == []
    checkpointer.close()
"""
)


@pytest.fixture
def saver(tmp_path):
    made = CutFile(tmp_path / "primary.db")
    yield made
    made.close()


def around(saver, tmp_path):
    return FallbackCheckpointer(saver, fallback=f"sqlite:///{tmp_path}/journal.db", retry_after=0)


def config(thread):
    return {"configurable": {"thread_id": thread}}


def test_what_a_killed_process_was_told_survives_it(saver, tmp_path):
    with Children() as children:
        child = children.start(DIES_IN_AN_OUTAGE, tmp_path)
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        child.wait()
    saver.is_away = True
    with around(saver, tmp_path) as checkpointer:
        graph = approval().compile(checkpointer=checkpointer)
        for thread in ("seen before", "new"):
            assert graph.get_state(config(thread)).next == ("ask",)
            assert graph.invoke(ANSWER, config(thread))["log"][-1] == "end"
        inner = nested().compile(checkpointer=checkpointer)
        assert inner.invoke(ANSWER, config("nested"))["log"][-1] == "yes"
        told = [graph.get_state(config(thread)) for thread in ("seen before", "new", "nested")]
        saver.is_away = False
        assert checkpointer.recover()
        assert checkpointer.rejected() == []
    alone = approval().compile(checkpointer=saver)
    assert [alone.get_state(config(each)) for each in ("seen before", "new", "nested")] == told


@pytest.mark.soak
def test_processes_that_share_a_file_replay_their_own(saver, tmp_path):
    saver.setup()
    with Children() as children:
        children.start_together(2, SHARES_A_FILE, tmp_path)
    alone = approval().compile(checkpointer=saver)
    for number in range(2):
        assert alone.get_state(config(str(number))).values["log"][-4:] == [
            str(number),
            "left",
            "right",
            "end",
        ]
