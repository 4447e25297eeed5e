"""What the flows of a transfer ask for: operations of stores, and work on files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sessionstore.flow import Flow, aplay, play
from sessionstore.operations import Operation
from sessionstore.store import SessionStore

__all__ = ["Ask", "Call", "TransferFlow", "arun_transfer", "ask", "ask_all", "call", "run_transfer"]

T = TypeVar("T")


class Ask(NamedTuple):
    """An operation for a store, or several on one session.

    Attributes:
        store: The store.
        operation: The operation, or a list of them.
    """

    store: SessionStore
    operation: Any


class Call(NamedTuple):
    """What may wait for a disk: in async it is done in a thread.

    Attributes:
        work: Does it, and gives the reply.
    """

    work: Callable[[], Any]


_Request: TypeAlias = Ask | Call

TransferFlow: TypeAlias = Flow[_Request, Any, T]
"""A flow whose requests are operations of a store, and calls of what reads or writes a file."""


def ask(store: SessionStore, operation: Operation[T]) -> TransferFlow[T]:
    """Have a store carry out an operation."""
    result: T = yield Ask(store, operation)
    return result


def ask_all(store: SessionStore, operations: list[Any]) -> TransferFlow[list[Any]]:
    """Have a store carry out operations on one session as one step."""
    results: list[Any] = yield Ask(store, operations)
    return results


def call(work: Callable[[], T]) -> TransferFlow[T]:
    """Do what may wait for a disk: in async, in a thread, the same one each time."""
    result: T = yield Call(work)
    return result


def run_transfer(flow: TransferFlow[T]) -> T:
    """Drive a transfer to its end."""
    return play(flow, _send)


async def arun_transfer(flow: TransferFlow[T]) -> T:
    """Async twin of `run_transfer`."""
    # One thread for all of a file, or of a reader's database, which may allow no other.
    thread = ThreadPoolExecutor(1, "sessionstore-transfer")

    async def send(request: _Request) -> Any:
        if isinstance(request, Ask):
            return await request.store.arun(request.operation)
        return await asyncio.get_running_loop().run_in_executor(thread, request.work)

    try:
        return await aplay(flow, send)
    finally:
        thread.shutdown(wait=False)


def _send(request: _Request) -> Any:
    if isinstance(request, Ask):
        return request.store.run(request.operation)
    return request.work()
