"""Calls that were late, and may still take effect: what they would undo waits for that."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import NamedTuple

from langgraph.checkpoint.base import WRITES_IDX_MAP

from langgraph_sessionstore.configs import thread_of
from langgraph_sessionstore.in_time import LateError
from langgraph_sessionstore.requests import SaverRequest

__all__ = ["LateCalls"]

_MOST = 1_000
_PATIENCE = 120.0


class _Late(NamedTuple):
    thread_id: str
    since: float
    error: LateError


class LateCalls:
    """The writes that nobody waits for any more.

    A late put is harmless beside its replay, which puts the same. It is not so behind a deletion of
    its thread, nor are late writes behind newer ones that take their place. Those wait for its end,
    but not for ever: a server that is gone says nothing any more.
    """

    def __init__(self) -> None:
        """Know of none."""
        self._calls: deque[_Late] = deque(maxlen=_MOST)

    def note(self, request: SaverRequest, error: Exception) -> None:
        """Take note of how a request has failed."""
        if isinstance(error, LateError) and request.method in ("put", "put_writes"):
            self._calls.append(_Late(thread_of(request.args[0]), time.monotonic(), error))

    def require_none_before(self, request: SaverRequest) -> None:
        """Have a request wait that a late call would undo.

        Raises:
            TimeoutError: There is such a call.
        """
        if self._calls and _replaces(request):
            late = self._of(_thread_of(request))
            if late is not None:
                raise TimeoutError("an earlier call may still take effect") from late.error

    def _of(self, thread_id: str) -> _Late | None:
        for each in list(self._calls):
            if each.error.is_over() or time.monotonic() - each.since > _PATIENCE:
                with suppress(ValueError):  # another caller has seen it, too
                    self._calls.remove(each)
            elif each.thread_id == thread_id:
                return each
        return None


def _thread_of(request: SaverRequest) -> str:
    first = request.args[0]
    return str(first) if request.method == "delete_thread" else thread_of(first)


def _replaces(request: SaverRequest) -> bool:
    if request.method == "put_writes":
        return any(channel in WRITES_IDX_MAP for channel, _ in request.args[1])
    return request.method == "delete_thread"
