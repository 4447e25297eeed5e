"""Calls of a saver as values, and how they are carried out."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from langgraph.checkpoint.base import BaseCheckpointSaver

from langgraph_sessionstore.in_time import acalled_in_time, called_in_time

__all__ = ["SaverRequest", "asend_to", "send_to"]

# What may still take effect when nobody waits for it any more: see `LateCalls`. What copies or
# prunes is not journaled, so that its caller has to know what became of it.
_GIVEN_UP = ("get_tuple", "put", "put_writes", "delete_thread", "get_delta_channel_history")


class SaverRequest(NamedTuple):
    """A call of a saver.

    Attributes:
        method: The name of its sync method; the async one has an ``a`` in front.
        args: With what.
        kwargs: And what else.
    """

    method: str
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


def send_to(
    saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None = None
) -> Any:
    """Carry out a request.

    Args:
        saver: The saver.
        request: What to ask it.
        timeout: How long to wait for it, in seconds; ``None`` for as long as it likes.
    """
    call = partial(getattr(saver, request.method), *request.args, **request.kwargs)
    if timeout is None or request.method not in _GIVEN_UP:
        return call()
    return called_in_time(timeout, call)


async def asend_to(
    saver: BaseCheckpointSaver[Any], request: SaverRequest, timeout: float | None = None
) -> Any:
    """Async twin of `send_to`."""
    call = getattr(saver, f"a{request.method}")(*request.args, **request.kwargs)
    if timeout is None or request.method not in _GIVEN_UP:
        return await call
    return await acalled_in_time(timeout, call)
