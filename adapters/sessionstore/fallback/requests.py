"""What the flows of a fallback ask for: an operation of one of its two stores, in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sessionstore.deadline import called_by, until
from sessionstore.flow import Flow
from sessionstore.operations import Operation
from sessionstore.store import SessionStore

__all__ = ["FallbackFlow", "Request", "asend", "ask", "by", "send"]

T = TypeVar("T")


class Request(NamedTuple):
    """An operation for a store.

    Attributes:
        store: The primary, or the fallback store.
        operation: The operation.
        deadline: The time, of `time.monotonic`, at which it must be over; ``None`` for none.
    """

    store: SessionStore
    operation: Operation[Any]
    deadline: float | None = None


FallbackFlow: TypeAlias = Flow[Request, Any, T]
"""A flow whose requests are operations; the reply is the operation's result."""


def ask(
    store: SessionStore, operation: Operation[T], deadline: float | None = None
) -> FallbackFlow[T]:
    """Ask a store; the result has the operation's type."""
    result: T = yield Request(store, operation, deadline)
    return result


def send(request: Request) -> Any:
    """Carry out a request."""
    store, operation, deadline = request
    if deadline is None:
        return store.run(operation)
    return called_by(deadline, store.run, operation)


async def asend(request: Request) -> Any:
    """Async twin of `send`."""
    store, operation, deadline = request
    if deadline is None:
        return await store.arun(operation)
    with until(deadline):
        return await store.arun(operation)


def by(deadline: float | None, flow: FallbackFlow[T]) -> FallbackFlow[T]:
    """Give those requests of a flow a time to be over by that have none of their own."""
    if deadline is None:
        return (yield from flow)
    resume: Callable[[Any], Request] = flow.send
    value: Any = None
    try:
        while True:
            request = resume(value)
            if request.deadline is None:
                request = Request(request.store, request.operation, deadline)
            try:
                resume, value = flow.send, (yield request)
            except Exception as error:  # noqa: BLE001 - handed to the flow, which raises it again
                resume, value = flow.throw, error
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        value = None
        flow.close()
