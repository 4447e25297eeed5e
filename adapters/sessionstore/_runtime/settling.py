"""Waiting for work to end, also where its caller is cancelled again and again meanwhile."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

__all__ = ["ended", "to_its_end"]

_AT_ONCE = 0.005  # seconds: who cancels again within these does so at each turn of the loop
_SHORTEST, _LONGEST = 0.000_1, 0.002


async def to_its_end(work: Coroutine[Any, Any, None]) -> BaseException | None:
    """Do some work to its end, however often the caller is cancelled.

    Args:
        work: The work, in a task of its own.

    Returns:
        The error that it ended with; ``None`` without one.
    """
    task = asyncio.ensure_future(work)
    await ended(task)
    return None if task.cancelled() else task.exception()


async def ended(work: asyncio.Future[Any]) -> None:
    """Wait until a task or future is done, however often the caller is cancelled.

    That it was cancelled is not told: who calls this has been told before, and raises it when all
    is settled.

    A cancel scope of anyio's, such as Starlette's, cancels its tasks at each turn of the loop until
    they end, and so keeps a core busy. Where this task is its own, it is shielded. Where it is one
    that somebody else waits for in that scope, as LangChain and LangGraph make them, no shield of
    ours reaches it: then each turn of the loop is made to last up to 2 ms.

    Args:
        work: What must come to its end; it is not cancelled.
    """
    pause, last = 0.0, -math.inf
    while not work.done():
        with suppress(asyncio.CancelledError), _shield():
            await asyncio.wait([work])
        if work.done():
            return
        now = time.monotonic()
        pause = min(max(2 * pause, _SHORTEST), _LONGEST) if now - last < _AT_ONCE else 0.0
        time.sleep(pause)  # noqa: ASYNC251 - it is the loop that has to be slowed down
        last = time.monotonic()


def _shield() -> AbstractContextManager[object]:
    anyio: Any = sys.modules.get("anyio")  # nobody has a scope of it who has not imported it
    if anyio is None or anyio.current_effective_deadline() > -math.inf:
        return nullcontext()
    shield: AbstractContextManager[object] = anyio.CancelScope(shield=True)
    return shield
