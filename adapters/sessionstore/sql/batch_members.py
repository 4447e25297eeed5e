"""What is done together in a batch, and what each in it is told."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from sessionstore.deadline import deadline_after
from sessionstore.errors import SessionStoreError, StoreTimeoutError
from sessionstore.sql.batching import Batchable
from sessionstore.sql.direct import Query
from sessionstore.sql.errors import cause, translated
from sessionstore.sql.requests import Work

__all__ = ["ALONE", "PATIENCE", "Carry", "Member", "answer", "chosen", "joint", "leave", "refuse"]

Carry: TypeAlias = Callable[[Work[Any]], Awaitable[Any]]
"""Carries out some work alone."""

ALONE: Any = object()
"""The reply to some work that no batch has done: it goes alone."""
PATIENCE = 0.25
"""Seconds to wait for a batch, and what a call must have left to do so."""
_MOST = 32  # works in a batch
_LARGE = 0.25  # of a batch: what fills more of it goes alone


class Member:
    """Some work that waits for a batch, and then for its reply.

    Args:
        work: The work: a `Query`.
        batchable: How it is done together with other work.
        carry: Carries it out alone.

    Attributes:
        batch: The batch that it is in; ``None`` while it waits for one.
        deadline: When its call must be over.
        told: Its reply, or `ALONE`; and the error that it has failed with.
        woken: Done when it was told.
    """

    def __init__(self, work: Work[Any], batchable: Batchable, carry: Carry) -> None:
        self.session: Hashable | None = work.session
        self.batchable: Batchable = batchable
        self.carry: Carry = carry
        self.values: Any = work.run.values  # type: ignore[attr-defined]  # a `Query`'s
        self.size: float = batchable.size(self.values)
        self.deadline: float | None = deadline_after(None)
        self.batch: asyncio.Task[None] | None = None
        self.told: tuple[object, Exception | None] | None = None
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def may_join(self) -> bool:
        """Tell whether it is small enough, and has the time."""
        return self.size <= _LARGE and self.left() >= PATIENCE

    def waits(self) -> bool:
        """Tell whether it is in no batch yet, and its caller still wants one."""
        return self.batch is None and self.told is None

    def left(self) -> float:
        """Give how many seconds the call still has."""
        return math.inf if self.deadline is None else self.deadline - time.monotonic()

    def tell(self, reply: object, error: Exception | None = None) -> None:
        """Give it its reply, or the error that it has failed with, unless it has one."""
        if self.told is None:
            self.told = (reply, error)
            if not self.woken.done():
                self.woken.set_result(None)

    def reply(self) -> object:
        """Give the reply that it was told, or raise the error."""
        reply, error = self.told or (ALONE, None)
        try:
            if error is not None:
                raise error
        finally:
            del error  # its traceback holds this frame: together they would wait for the gc
        return reply


def chosen(waiting: Iterable[Member]) -> list[Member]:
    """Choose the first of those who wait, and all that can be done together with it."""
    group: list[Member] = []
    sessions: set[object] = set()
    size = 0.0
    for one in waiting:
        kind = group[0].batchable if group else one.batchable
        if one.batchable is not kind or not one.waits() or size + one.size > 1:
            continue
        if kind.one_a_session and one.session in sessions:
            continue
        sessions.add(one.session)
        group.append(one)
        size += one.size
        if len(group) == _MOST:
            break
    return group


def joint(group: Sequence[Member]) -> tuple[Work[Any], float | None]:
    """Make the work that does all of a group, and tell when the first of its calls must be over."""
    batchable = group[0].batchable
    values = batchable.values([one.values for one in group])
    work: Work[Any] = Work(Query(batchable.statement, values), at_once=True, repeatable=True)
    return work, min([one.deadline for one in group if one.deadline is not None], default=None)


def answer(group: Sequence[Member], rows: Sequence[Any]) -> None:
    """Give each of a group its part of the reply."""
    replies = group[0].batchable.replies(rows, len(group))
    for one, reply in zip(group, replies, strict=True):
        one.tell(ALONE if reply is None else reply)


def refuse(group: Iterable[Member], error: Exception) -> None:
    """Tell a group of its failure: each goes alone where it has the time, and that may help."""
    batch, is_late = object(), isinstance(error, StoreTimeoutError)
    for one in group:
        if one.left() >= PATIENCE and (is_late or not isinstance(error, SessionStoreError)):
            one.tell(ALONE)
        else:
            one.tell(None, _copied(error, batch))


def leave(group: Iterable[Member]) -> None:
    """Have those of a group go alone that were told nothing."""
    for one in group:
        one.tell(ALONE)


def _copied(error: Exception, batch: object) -> SessionStoreError:
    """Make an error of a call's own: each is raised in a task of its own."""
    if isinstance(error, SessionStoreError):
        own, reason = type(error)(*error.args), error.__cause__
    else:
        own, reason = translated(error), cause(error)
    if isinstance(own, StoreTimeoutError):
        own.batch = batch
    own.__cause__ = reason
    return own
