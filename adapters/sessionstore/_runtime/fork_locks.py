"""Locks that a fork leaves free, with what they guard as it was between two of their holders."""

from __future__ import annotations

import weakref
from contextlib import suppress
from functools import partial
from threading import Lock, RLock, get_ident
from typing import Any

from sessionstore._runtime.forks import at_fork

__all__ = ["fork_safe_lock", "fork_safe_rlock", "release_if_held"]

_PATIENCE = 1.0

_locks: dict[int, weakref.ref[Any]] = {}
_held: dict[int, list[Any]] = {}


def fork_safe_lock() -> Lock:
    """Make a lock that no child of a fork finds held by a thread that it does not have.

    A fork waits for its holder, so that a child never gets what somebody had half done. It is for
    what is held for moments only, and not while another such lock is asked for.
    """
    lock = Lock()
    _watch(lock)
    return lock


def fork_safe_rlock() -> RLock:
    """Make such a lock that knows who holds it: `release` by anybody else raises `RuntimeError`."""
    lock = RLock()
    _watch(lock)
    return lock


def release_if_held(lock: RLock) -> None:
    """Release what a call that ended in an error may have left held; others' stays as it is.

    Python 3.10 raises a Ctrl-C also before the first step of the `with` that an error leaves by,
    which then does not release.
    """
    with suppress(RuntimeError):  # not held by this thread
        lock.release()


def _watch(lock: Any) -> None:
    _locks[id(lock)] = weakref.ref(lock, partial(_forget, id(lock)))


def _forget(key: int, _: object) -> None:
    _locks.pop(key, None)


def _living() -> list[Any]:
    return [lock for ref in list(_locks.values()) if (lock := ref()) is not None]


def _before() -> None:
    held = _held[get_ident()] = []
    # One that is not to be had may be held by what forks, in a signal's handler, say.
    held += [lock for lock in _living() if lock.acquire(timeout=_PATIENCE)]


def _in_parent() -> None:
    for lock in _held.pop(get_ident(), ()):
        lock.release()


def _in_child() -> None:
    _held.clear()
    for lock in _living():
        with suppress(RuntimeError):  # nobody held it
            lock.release()


at_fork(before=_before, in_parent=_in_parent, in_child=_in_child)
