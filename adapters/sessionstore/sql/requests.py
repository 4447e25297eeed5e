"""What a store's operations ask of the database, and the type of the flows that ask it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection

__all__ = ["Pause", "SqlFlow", "Work"]

T = TypeVar("T")


class Work(msgspec.Struct, Generic[T], frozen=True):
    """Some statements, carried out together; the reply is what `run` returns.

    Attributes:
        run: Carries them out on a connection. It may be run again from its start, after what it
            did has been undone.
        at_once: It is a single statement, which needs no transaction around it.
        repeatable: To run it twice is as good as once: it may be sent again when the connection
            was lost before the reply.
        session: What it is about, where that is one session: its writes, or its reads.
        may_exceed_pool: Where all connections are in use it opens one of its own.
        is_done: Called once it is this work's turn; where it is true, nothing is sent and the
            reply is ``None``.
    """

    run: Callable[[Connection], T]
    at_once: bool = False
    repeatable: bool = False
    session: Hashable | None = None
    may_exceed_pool: bool = False
    is_done: Callable[[], bool] = bool


class Pause(msgspec.Struct, frozen=True):
    """A while in which an operation asks for nothing.

    Attributes:
        seconds: How long.
    """

    seconds: float


SqlFlow: TypeAlias = Generator["Work[Any] | Pause", object, T]
"""An operation: it yields what it asks of the database, is sent the reply, and returns ``T``.

A reply is what the work's `Work.run` returned; `AgentDb.operation` gives it its type.
"""
