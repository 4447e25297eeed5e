"""Who holds something: so that a call that Ctrl-C broke off can give back what it held."""

from __future__ import annotations

from itertools import count
from threading import get_ident
from typing import TypeAlias

__all__ = ["Ticket", "is_within", "ticket"]

Ticket: TypeAlias = "tuple[int, int]"
"""A thread, and a number that only grows."""

_numbers = count(1)


def ticket() -> Ticket:
    """Give the calling thread a ticket of its own."""
    return get_ident(), next(_numbers)


def is_within(held: Ticket | None, call: Ticket) -> bool:
    """Tell whether something was taken by a call that runs in this thread, and blocks it.

    Args:
        held: The ticket with which it was taken; ``None`` where nobody holds it.
        call: The one with which the call began.
    """
    return held is not None and held[0] == call[0] and held[1] > call[1]
