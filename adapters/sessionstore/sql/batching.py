"""Which reads and appends are done together, and how their parameters and replies are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from sessionstore.sql.batch_statements import appending_to_many, reading_many
from sessionstore.sql.column_types import escaped
from sessionstore.sql.direct import Values
from sessionstore.sql.read_statements import HEAD
from sessionstore.sql.tables import Tables

__all__ = ["Batchable", "appends", "reads"]

_MESSAGES = 2_000  # read by one statement, each of up to `LONGEST` bytes
_CHARACTERS = 500_000  # written by one statement


class Batchable(msgspec.Struct, frozen=True, eq=False):
    """How some work is done together with other work of its kind, by one statement for all of it.

    Such a statement waits for no lock on a session, and to send it twice is as good as once.

    Attributes:
        statement: What does it for all work that has the same one.
        size: Tells of a work's own parameters which part of a batch it fills: up to 1.
        values: Makes the parameters of the statement from those of each work.
        replies: Takes the statement's rows, and how many works there were; gives what each one's
            own statement would have given, or ``None`` where it must be sent.
        one_a_session: No two of the works may be about one session.
    """

    statement: Any
    size: Callable[[Any], float]
    values: Callable[[Sequence[Any]], Any]
    replies: Callable[[Sequence[Any], int], Sequence[Sequence[Any] | None]]
    one_a_session: bool


@lru_cache(maxsize=64)
def reads(tables: Tables, keep_system: bool, whole: bool) -> Batchable:
    """Give how reads of the last messages of sessions are done together.

    Args:
        tables: The store's.
        keep_system: As for `reading_many`.
        whole: As for `reading_many`.
    """
    statement = reading_many(tables, keep_system, whole)
    return Batchable(statement, _size_of_read, _values_of_reads, _replies_of_reads, False)


@lru_cache(maxsize=16)
def appends(tables: Tables) -> Batchable:
    """Give how appends that expect no version are done together.

    One that does may not be sent twice: it would not find that version any more.

    Args:
        tables: The store's.
    """
    statement = appending_to_many(tables)
    return Batchable(statement, _size_of_append, _values_of_appends, _replies_of_appends, True)


def _size_of_read(values: Values) -> float:
    size: float = values["limit"] / _MESSAGES
    return size


def _values_of_reads(reads: Sequence[Values]) -> Values:
    owners = [values.get("user_id") for values in reads]
    return Values(
        session_ids=[escaped(values["session_id"]) for values in reads],
        user_ids=[owner if owner is None else escaped(owner) for owner in owners],
        oldests=[values["oldest"] for values in reads],
        limits=[values["limit"] for values in reads],
    )


def _replies_of_reads(rows: Sequence[Any], count: int) -> list[list[Any] | None]:
    replies: list[list[Any]] = [[] for _ in range(count)]
    cut = set()
    for row in rows:
        if row[3] is None and row[1] != HEAD:
            cut.add(row[0] - 1)
        replies[row[0] - 1].append(row[1:])
    return [None if place in cut else reply for place, reply in enumerate(replies)]


def _size_of_append(values: Values) -> float:
    return sum(map(len, values["bodies"])) / _CHARACTERS


def _values_of_appends(appends: Sequence[Values]) -> Values:
    many = Values(
        sessions=[values["id"] for values in appends],
        user_ids=[values["user_id"] for values in appends],
        oldests=[values["oldest"] for values in appends],
        counts=[values["count"] for values in appends],
        **{name: [] for name in ("places", "positions", "ids", "bodies")},
    )
    for place, values in enumerate(appends, start=1):
        count = values["count"]
        many["places"] += [place] * count
        many["positions"] += range(1, count + 1)
        many["ids"] += values["ids"]
        many["bodies"] += values["bodies"]
    return many


def _replies_of_appends(rows: Sequence[Any], count: int) -> list[list[Any] | None]:
    replies: list[list[Any] | None] = [None] * count
    for row in rows:
        replies[row[0] - 1] = [row[1:]]
    return replies
