"""Calls that their callers give up while the server has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

_TICK = 0.005


async def under_way(
    work: Coroutine[Any, Any, Any], when: Callable[[], object]
) -> asyncio.Task[Any]:
    """Begin work in a task, and give the task once a condition holds, before the work is done."""
    task = asyncio.create_task(work)
    await asyncio.sleep(_TICK)  # it has begun, though the condition may hold by another's doing
    while not when():
        assert not task.done(), "the work is done already"
        await asyncio.sleep(_TICK)
    return task


async def cancelled(work: Coroutine[Any, Any, Any], when: Callable[[], object]) -> None:
    """Cancel work once a condition holds, and wait until it has ended."""
    task = await under_way(work, when)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
