"""Graphs on a saver that fails at random, beside the same graphs on one that does not."""

from __future__ import annotations

import random

import pytest
from graphs import approval, fanned_out, nested, remembering
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from savers import Cut

from langgraph_sessionstore import FallbackCheckpointer

CONFIG = {"configurable": {"thread_id": "t"}}
GRAPHS = {
    "approval": approval,
    "nested": nested,
    "fanned out": lambda: fanned_out(4),
    "remembering": remembering,
}


class Flaky(Cut):
    """A saver whose calls fail, and whose answers are lost, as chance will have it."""

    def __init__(self, seed):
        super().__init__()
        self._chance = random.Random(seed)  # noqa: S311 - no secret
        self._fails = 0.0

    def change(self):
        self._fails = self._chance.choice([0, 0.1, 0.5, 1])

    def be_well(self):
        self._fails = 0.0

    def _reach(self):
        super()._reach()
        self._answer()

    def _answer(self):
        if self._chance.random() < self._fails:
            raise ConnectionError


def turns(graph, change=lambda: None):
    for turn in range(4):
        change()
        state = graph.invoke({"log": [f"turn {turn}"]}, CONFIG)
        while state.get("__interrupt__"):
            change()
            answers = {each.id: f"answer {turn}" for each in state["__interrupt__"]}
            state = graph.invoke(Command(resume=answers), CONFIG)
        yield state["log"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_graph_does_what_it_would_have_done(kind, seed):
    undisturbed = list(turns(GRAPHS[kind]().compile(checkpointer=InMemorySaver())))
    saver = Flaky(seed)
    with FallbackCheckpointer(saver, retry_after=0, retry_cap=0) as checkpointer:
        graph = GRAPHS[kind]().compile(checkpointer=checkpointer)
        assert list(turns(graph, saver.change)) == undisturbed
        told = graph.get_state(CONFIG)
        saver.be_well()
        assert checkpointer.recover()
        assert checkpointer.rejected() == []
        alone = graph.copy({"checkpointer": saver})
        assert alone.get_state(CONFIG) == told
        steps = [state.metadata["step"] for state in alone.get_state_history(CONFIG)]
        assert steps == sorted(range(-1, len(steps) - 1), reverse=True)
