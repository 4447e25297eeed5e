"""Calls that were late, and may still take effect: what they would undo waits for that."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from langgraph.checkpoint.base import WRITES_IDX_MAP

from langgraph_sessionstore.configs import thread_of
from langgraph_sessionstore.in_time import LateError
from langgraph_sessionstore.requests import SaverRequest

__all__ = ["LateCalls"]

_MOST = 1_000
_PATIENCE = 120.0
_WRITES = ("put", "put_writes", "delete_thread")
_DELETIONS = ("delete_thread", "delete_for_runs", "prune")


class _Late(NamedTuple):
    method: str
    thread_id: str
    since: float
    error: LateError

    @property
    def patience(self) -> float:
        """For how long others wait for it, in seconds: what was promised is not to be deleted."""
        return math.inf if self.method == "delete_thread" else _PATIENCE


class LateCalls:
    """The writes that nobody waits for any more.

    A late put is harmless beside its replay, which puts the same, and beside newer ones, since the
    latest checkpoint is the one with the newest id. It is not so behind a deletion, nor are late
    writes behind newer ones that take their place: those wait for its end, but not for ever, since
    a server that is gone says nothing any more. A late deletion would delete what is put after it,
    so all that writes to its thread waits for its end.
    """

    def __init__(self) -> None:
        """Know of none."""
        self._calls: deque[_Late] = deque()

    def note(self, request: SaverRequest, error: BaseException) -> None:
        """Take note of how a request has failed, or was broken off."""
        late = error if isinstance(error, LateError) else error.__cause__
        if isinstance(late, LateError) and request.method in _WRITES:
            [thread_id] = _threads_of(request) or [""]
            if len(self._calls) >= _MOST:
                self._under_way()  # what is over makes room: what is not must not be forgotten
            self._calls.append(_Late(request.method, thread_id, time.monotonic(), late))

    def require_none_before(self, request: SaverRequest) -> None:
        """Have a request wait that a late call would undo.

        Raises:
            TimeoutError: There is such a call.
        """
        if not self._calls:
            return
        threads = _threads_of(request)
        for late in self._under_way():
            if (threads is None or late.thread_id in threads) and _undoes(late, request):
                raise TimeoutError("an earlier call may still take effect") from late.error

    def _under_way(self) -> list[_Late]:
        found = []
        for each in list(self._calls):
            if each.error.is_over() or time.monotonic() - each.since > each.patience:
                with suppress(ValueError):  # another caller has seen it, too
                    self._calls.remove(each)
            else:
                found.append(each)
        return found


def _threads_of(request: SaverRequest) -> Sequence[str] | None:
    """Give the threads that a request writes to; ``None`` for any."""
    if request.method in ("put", "put_writes"):
        return [thread_of(request.args[0])]
    if request.method in ("delete_thread", "copy_thread"):
        return [str(each) for each in request.args]
    if request.method == "prune":
        return [str(each) for each in request.args[0]]
    return None if request.method == "delete_for_runs" else []


def _undoes(late: _Late, request: SaverRequest) -> bool:
    if late.method == "delete_thread":
        return request.method in (*_WRITES, "copy_thread")
    if request.method == "put_writes":
        return any(channel in WRITES_IDX_MAP for channel, _ in request.args[1])
    return request.method in _DELETIONS
