"""What a store's operations ask of the database, and the type of the flows that ask it."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import msgspec
from sqlalchemy import Connection

from sessionstore.flow import Flow

if TYPE_CHECKING:
    from sessionstore.sql.batching import Batchable

__all__ = ["SqlFlow", "Work"]

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
        batchable: How it can be done together with other work; ``None`` where it can't.
    """

    run: Callable[[Connection], T]
    at_once: bool = False
    repeatable: bool = False
    session: Hashable | None = None
    may_exceed_pool: bool = False
    is_done: Callable[[], bool] = bool
    batchable: Batchable | None = None

    def __repr__(self) -> str:
        """Tell how it is carried out: never what is written."""
        how = "one statement" if self.at_once else "one transaction"
        return f"Work({how}{', repeatable' if self.repeatable else ''})"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return ["one statement" if self.at_once else "one transaction"]


SqlFlow: TypeAlias = Flow[Work[Any], Any, T]
"""An operation: it yields what it asks of the database, and is sent what `Work.run` returned.

`AgentDb.send` and `AgentDb.asend` carry out what it asks.
"""
