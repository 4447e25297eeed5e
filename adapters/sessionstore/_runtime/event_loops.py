"""What lives once for each event loop, and ends with it."""

from __future__ import annotations

import asyncio
import atexit
import sys
import weakref
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Any, Generic, TypeVar

from sessionstore._runtime.forks import at_fork, left_to_parent

__all__ = ["PerLoop"]

T = TypeVar("T")

_NEVER = 10.0 * 365 * 86400  # seconds


class PerLoop(Generic[T]):
    """One thing for each event loop, such as connections: a loop can't use another one's.

    It is held by its loop alone, and ends with it, or with this object:

    - in order, on the loop, where that closes its generators as it ends, as that of `asyncio.run`;
    - at once, without the loop, where that was closed at once, or collected without being closed,
      or does not run as this object is closed or collected, or as the process ends;
    - never in a forked child: it is the parent's.

    So what is kept in here must not lead to this object.

    Args:
        close: Ends one in order, on its loop.
        abandon: Ends one at once: on its loop, or where that runs no more.
    """

    def __init__(self, close: Callable[[T], Awaitable[None]], abandon: Callable[[T], None]) -> None:
        """Have none yet."""
        self._close, self._abandon = close, abandon
        # By the loop's id, which no other has while this lives: it holds the loop.
        self._held: dict[int, weakref.ref[_Held[T]]] = {}
        # Not `__del__`: of one that is collected, the weak references lead nowhere by then.
        weakref.finalize(self, _end_all, self._held).atexit = False

    def here(self) -> T | None:
        """Give that of the running loop, if it has one."""
        ref = self._held.get(id(asyncio.get_running_loop()))
        held = None if ref is None else ref()
        return None if held is None else held.value

    def keep(self, value: T) -> T:
        """Have the running loop keep this as its own, in place of what it had."""
        held = _Held(value, self._close, self._abandon)
        entries, key = self._held, id(held.loop)
        entries[key] = weakref.ref(held, lambda gone: _remove(entries, key, gone))
        held.begin()
        return value

    def all(self) -> list[T]:
        """Give those of all loops."""
        living = [held for ref in list(self._held.values()) if (held := ref()) is not None]
        return [held.value for held in living if held.value is not None]

    def close(self) -> None:
        """End them all, from anywhere; those of loops that run, as their next step."""
        _end_all(self._held)

    async def aclose(self) -> None:
        """End them all: that of the running loop in order, before this returns."""
        ref = self._held.pop(id(asyncio.get_running_loop()), None)
        held = None if ref is None else ref()
        self.close()
        if held is not None:
            await held.end()


class _Held(Generic[T]):
    """Holds what a loop is to hold as long as it lives, by a call that never comes.

    Nothing else may hold this: a loop that is closed lets go of its calls, and so of this, at once.
    """

    def __init__(
        self, value: T, close: Callable[[T], Awaitable[None]], abandon: Callable[[T], None]
    ) -> None:
        self.value: T | None = value
        self.loop = asyncio.get_running_loop()
        self._close, self._abandon = close, abandon

    def begin(self) -> None:
        _all[id(self)] = self
        self.loop.call_later(_NEVER, self.__repr__, context=Context())
        # A loop that ends in order closes its generators first: the only word of it that it gives.
        self._lifetime = _lifetime(weakref.ref(self))
        hooks = sys.get_asyncgen_hooks()
        try:
            # One that is dropped would be closed by a task: this one has nothing to do then.
            sys.set_asyncgen_hooks(finalizer=None)
            begun: Any = anext(self._lifetime)
            begun.send(None)
        except StopIteration:
            pass
        finally:
            sys.set_asyncgen_hooks(*hooks)

    async def end(self) -> None:
        await self._lifetime.aclose()

    async def close(self) -> None:
        if (value := self.value) is not None:
            await self._close(value)
            self.value = None

    def abandon(self) -> None:
        value, self.value = self.value, None
        if value is not None:
            self._abandon(value)

    def end_from_elsewhere(self) -> None:
        if self.loop.is_running():
            with suppress(RuntimeError):  # it was closed in this very moment
                self.loop.call_soon_threadsafe(self.abandon)
                return
        self.abandon()

    def disown(self) -> None:
        left_to_parent(self.value)
        self.value = None

    def __del__(self) -> None:
        """End what the loop has left open."""
        self.abandon()


async def _lifetime(named: weakref.ref[_Held[Any]]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        held = named()
        if held is not None and _is_running(held.loop):
            await held.close()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _end_all(entries: dict[int, weakref.ref[_Held[Any]]]) -> None:
    while entries:
        with suppress(KeyError):  # another thread's loop ends
            _, ref = entries.popitem()
            if (held := ref()) is not None:
                held.end_from_elsewhere()


def _remove(entries: dict[int, Any], key: int, gone: object) -> None:
    if entries.get(key) is gone:
        entries.pop(key, None)


def _abandon_all() -> None:
    """End what is left as the process ends: each would complain, and no loop runs any more."""
    for held in _those_left():
        if not held.loop.is_running():
            held.abandon()


def _disown_all() -> None:
    for held in _those_left():
        held.disown()


def _those_left() -> list[_Held[Any]]:
    """Give them in one step: other threads' loops may begin with one."""
    found = [there() for there in _all.valuerefs()]
    return [held for held in found if held is not None]


_all: weakref.WeakValueDictionary[int, _Held[Any]] = weakref.WeakValueDictionary()
atexit.register(_abandon_all)
at_fork(in_child=_disown_all)
