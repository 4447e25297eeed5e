"""Work that is written once, as a generator, and driven sync or async.

A flow yields requests, gets the reply to each from its ``yield``, and returns a result. It does no
input or output itself, so the same flow serves the sync and the async methods of a store. The idea
is that of httpx's ``auth_flow``.

What a request is, a flow and what drives it agree on: a command for a server, a statement, or an
operation for another store. One request that does all of an operation is best: what is checked is
then checked in the same step as the work.

Example:
    >>> from sessionstore.flow import play
    >>> def total(name):
    ...     numbers = yield name  # a request, and the reply to it
    ...     return sum(numbers)
    >>> play(total("a"), {"a": [1, 2, 3]}.get)
    6
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeAlias, TypeVar

__all__ = ["Flow", "aplay", "play"]

Request = TypeVar("Request")
Reply = TypeVar("Reply")
Result = TypeVar("Result")

Flow: TypeAlias = Generator[Request, Reply, Result]
"""What a flow asks for, what it gets for it, and what it gives in the end."""


def play(flow: Flow[Request, Reply, Result], send: Callable[[Request], Reply]) -> Result:
    """Drive a flow to its end on a blocking connection.

    Args:
        flow: The work.
        send: Carries one request to the backend and returns the reply. What it raises is
            raised inside the flow, at its ``yield``.

    Returns:
        What the flow returns.
    """
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            request = resume(value)
            try:
                resume, value = flow.send, send(request)
            except Exception as error:  # noqa: BLE001 - handed to the flow, which raises it again
                resume, value = flow.throw, error
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        value = None  # an error's traceback holds this frame: together they would wait for the gc
        flow.close()


async def aplay(
    flow: Flow[Request, Reply, Result], send: Callable[[Request], Awaitable[Reply]]
) -> Result:
    """Drive a flow to its end on an asyncio connection: the twin of `play`.

    Args:
        flow: The work.
        send: Carries one request to the backend and returns the reply. What it raises is
            raised inside the flow, at its ``yield``.

    Returns:
        What the flow returns.
    """
    resume: Callable[[Any], Any] = flow.send
    value: Any = None
    try:
        while True:
            request = resume(value)
            try:
                resume, value = flow.send, await send(request)
            except Exception as error:  # noqa: BLE001 - handed to the flow, which raises it again
                resume, value = flow.throw, error
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    finally:
        value = None  # an error's traceback holds this frame: together they would wait for the gc
        flow.close()
