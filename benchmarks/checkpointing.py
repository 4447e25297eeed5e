"""What a checkpointer's fallback costs while all is well: a turn of a graph on a long thread."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import peers
from measure import Loop, Measured, Use, interleaved
from places import Place
from turns import texts

CHECKPOINTED = "a turn of a graph, a thread of {} turns, healthy"
BARE_SAVER, WITH_FALLBACK = "PostgresSaver", "FallbackCheckpointer"
TURNS = 200
_ROUNDS = 40  # the thread grows by as many bursts at most, both savers' alike


def checkpointing(loop: Loop, backend: str, place: Place, *, seconds: float) -> list[Measured]:
    """Measure turns of a graph with LangGraph's saver, bare and with a fallback."""
    if backend != "postgresql":
        return []
    with ExitStack() as stack:
        uses = list(_uses(stack, place(fresh=True)))
        return interleaved(loop, uses, seconds=seconds, most=_ROUNDS)


def _uses(stack: ExitStack, url: str) -> Iterator[Use]:
    from langgraph.checkpoint.postgres import PostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import ConnectionPool

    from langgraph_sessionstore import FallbackCheckpointer

    settings: dict[str, Any] = {
        "autocommit": True,
        "prepare_threshold": 0,
        "row_factory": dict_row,
    }
    for name in (BARE_SAVER, WITH_FALLBACK):
        pool = ConnectionPool(url, max_size=peers.CONNECTIONS, open=True, kwargs=settings)
        saver = PostgresSaver(stack.enter_context(pool))
        saver.setup()
        given: Any = saver
        if name == WITH_FALLBACK:
            given = stack.enter_context(FallbackCheckpointer(saver))
        work = CHECKPOINTED.format(TURNS)
        yield Use(Measured(work, "postgresql", "sync", name, "ours", TURNS), _turn(given, name))


def _turn(saver: Any, thread: str) -> Any:
    """Give a turn of a graph on a thread that has had all those turns before."""
    from langchain_core.messages import AIMessage, HumanMessage
    from langgraph.graph import START, MessagesState, StateGraph

    numbers, [text] = itertools.count(), texts(1)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda _: {"messages": [AIMessage(text, id=f"a{next(numbers)}")]})
    graph.add_edge(START, "model")
    built = graph.compile(checkpointer=saver)
    config: Any = {"configurable": {"thread_id": thread}}

    def turn() -> None:
        built.invoke({"messages": [HumanMessage(text, id=f"h{next(numbers)}")]}, config)

    for _ in range(TURNS):
        turn()
    return turn
