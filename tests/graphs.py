"""Graphs that tests run with a checkpointer."""

from __future__ import annotations

import operator
import sys
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt


def require_interrupts(*, in_asyncio: bool) -> None:
    """Skip a test where LangGraph has none."""
    if in_asyncio and sys.version_info < (3, 11):
        pytest.skip("LangGraph's interrupts need Python 3.11 in asyncio")


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


class Part(TypedDict):
    number: int
    log: Annotated[list[str], operator.add]


def fanned_out(count: int) -> StateGraph[Any]:
    """A graph of many graphs at once, each of which waits for an answer after a step."""

    def part_asks(state: Part) -> Any:
        return {"log": [f"{state['number']}: {interrupt(state['number'])}"]}

    inner = StateGraph(Part)
    inner.add_node("step", lambda state: {"log": [f"{state['number']}: step"]})
    inner.add_node("ask", part_asks)
    inner.add_edge(START, "step")
    inner.add_edge("step", "ask")
    outer = StateGraph(State)
    outer.add_node("part", inner.compile())
    outer.add_node("end", says("end"))
    parts = [Send("part", {"number": number, "log": []}) for number in range(count)]
    outer.add_conditional_edges(START, lambda _: parts, ["part"])
    outer.add_edge("part", "end")
    return outer


def remembering() -> StateGraph[Any]:
    """A graph that calls one which has a memory of its own."""
    inner = StateGraph(State)
    inner.add_node("count", lambda state: {"log": [f"seen {len(state['log'])}"]})
    inner.add_edge(START, "count")
    compiled = inner.compile(checkpointer=True)
    outer = StateGraph(State)
    outer.add_node("call", lambda _: {"log": compiled.invoke({"log": ["x"]})["log"][-1:]})
    outer.add_edge(START, "call")
    return outer
