"""Graphs that tests run with a checkpointer."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt


class State(TypedDict):
    log: Annotated[list[str], operator.add]


def says(word: str) -> Any:
    def node(_: State) -> Any:
        return {"log": [word]}

    return node


def asks(_: State) -> Any:
    return {"log": [interrupt("go on?")]}


def approval() -> StateGraph[Any]:
    """A step, then three at once of which one waits for an answer, then an end."""
    graph = StateGraph(State)
    for name in ("begin", "left", "right", "end"):
        graph.add_node(name, says(name))
    graph.add_node("ask", asks)
    graph.add_edge(START, "begin")
    for name in ("left", "ask", "right"):
        graph.add_edge("begin", name)
        graph.add_edge(name, "end")
    graph.add_edge("end", END)
    return graph


def nested() -> StateGraph[Any]:
    """A graph whose second node is a graph that waits for an answer after a step of its own."""
    inner = StateGraph(State)
    inner.add_node("step", says("inner step"))
    inner.add_node("ask", asks)
    inner.add_edge(START, "step")
    inner.add_edge("step", "ask")
    outer = StateGraph(State)
    outer.add_node("begin", says("begin"))
    outer.add_node("inner", inner.compile())
    outer.add_edge(START, "begin")
    outer.add_edge("begin", "inner")
    return outer
