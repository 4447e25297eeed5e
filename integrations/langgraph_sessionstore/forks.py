"""What is done in a forked child, by what is still there."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

__all__ = ["at_fork"]


def at_fork(renew: Callable[[], Any]) -> None:
    """Have a method called in each forked child, where a lock may be held by nobody who is there.

    Args:
        renew: The method. Its object is not kept by this.
    """
    known = WeakMethod(renew)
    _renewed.append(known)
    if len(_renewed) > _MOST:
        _renewed[:] = [each for each in _renewed if each() is not None]


def _renew_all() -> None:
    for each in _renewed:
        renew = each()
        if renew is not None:
            renew()


_MOST = 100
_renewed: list[WeakMethod[Callable[[], Any]]] = []
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
