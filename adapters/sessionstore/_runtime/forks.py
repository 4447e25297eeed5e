"""What happens at a fork: who has something to do before it, or after it, is called."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial
from itertools import count
from threading import RLock
from types import MethodType
from typing import Any, TypeAlias

__all__ = ["at_fork", "left_to_parent"]

_Call: TypeAlias = Callable[[], object]

_of_parent: list[object] = []


def at_fork(
    *,
    before: _Call | None = None,
    in_parent: _Call | None = None,
    in_child: _Call | None = None,
) -> None:
    """Have methods called at each fork, as long as their objects live; or functions, for good.

    As with `os.register_at_fork`, those before it are called in reverse order, and an error in one
    keeps no other from its own. Who asks for this while another thread forks waits until that is
    done.

    Args:
        before: What is called before it, in the process that forks.
        in_parent: What is called after it, in that process.
        in_child: What is called after it, in the new process, where no other thread is.
    """
    with _forks.lock:
        _forks.before.add(before)
        _forks.in_parent.add(in_parent)
        _forks.in_child.add(in_child)


def left_to_parent(thing: object) -> None:
    """Keep for good, in a child, what is its parent's: to collect it might close it.

    Args:
        thing: What holds connections that the parent has opened.
    """
    _of_parent.append(thing)


class _Calls:
    def __init__(self) -> None:
        self._numbers = count()
        self._kept: dict[int, tuple[Callable[..., object], weakref.ref[Any] | None]] = {}

    def add(self, call: _Call | None) -> None:
        kept, number = self._kept, next(self._numbers)
        if isinstance(call, MethodType):
            owner = weakref.ref(call.__self__, lambda _: kept.pop(number, None))
            kept[number] = call.__func__, owner
        elif call is not None:
            kept[number] = call, None

    def in_order(self) -> list[_Call]:
        calls: list[_Call] = []
        for function, reference in list(self._kept.values()):
            if reference is None:
                calls.append(function)
            elif (owner := reference()) is not None:
                calls.append(partial(function, owner))
        return calls


class _Forks:
    def __init__(self) -> None:
        self.lock = RLock()
        self.before, self.in_parent, self.in_child = _Calls(), _Calls(), _Calls()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(
                before=self._begin, after_in_parent=self._go_on, after_in_child=self._start
            )

    def _begin(self) -> None:
        self.lock.acquire()
        _call_all(self.before.in_order())

    def _go_on(self) -> None:
        try:
            _call_all(self.in_parent.in_order()[::-1])
        finally:
            self.lock.release()

    def _start(self) -> None:
        self.lock = RLock()
        _call_all(self.in_child.in_order()[::-1])


def _call_all(calls: list[_Call]) -> None:
    """Call them, the last one first."""
    try:
        while calls:
            calls.pop()()
    finally:
        if calls:
            _call_all(calls)


_forks = _Forks()
