"""Who holds something: so that a call that Ctrl-C broke off can give back what it held."""

from __future__ import annotations

import sys
from itertools import count
from threading import get_ident
from typing import Any, TypeAlias

__all__ = ["Ticket", "is_within", "task_ticket", "ticket"]

Ticket: TypeAlias = "tuple[int, int]"
"""A thread, or a task of an event loop, and a number that only grows."""

_numbers = count(1)


def ticket() -> Ticket:
    """Give the calling thread a ticket of its own."""
    return get_ident(), next(_numbers)


def task_ticket() -> Ticket:
    """Give the calling task a ticket of its own, or the thread where none runs."""
    return _runner(), next(_numbers)


def is_within(held: Ticket | None, call: Ticket) -> bool:
    """Tell whether something was taken by a call that this task or thread is about to end.

    Args:
        held: What `task_ticket` gave when it was taken; ``None`` where nobody holds it.
        call: The ticket with which the call began.
    """
    return held is not None and held[1] > call[1] and held[0] == _runner()


def _runner() -> int:
    # Tasks take turns in their thread. Whoever has not imported asyncio has none.
    current: Any = getattr(sys.modules.get("asyncio"), "current_task", None)
    try:
        task = current and current()
    except RuntimeError:  # no event loop runs here
        task = None
    return get_ident() if task is None else id(task)
