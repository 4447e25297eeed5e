"""A session's turns and calls, as they are drawn: what begins where, and ends where."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, NamedTuple

from sessionstore.models import SYSTEM_ROLES, SessionMessage
from sessionstore.notebook.parts import paired

__all__ = ["Call", "calls_of", "moments_of", "rows_of", "turns_of"]

_BEGIN = {"user", *SYSTEM_ROLES}
_ROWS = 12


class Call(NamedTuple):
    """A call of a tool.

    Attributes:
        name: The tool's name.
        begin: The place of the message that asks for it.
        end: The place of its result; ``None`` where that never came.
        is_waiting: It may come yet: nothing was said since.
    """

    name: str
    begin: int
    end: int | None
    is_waiting: bool


def turns_of(messages: Sequence[SessionMessage]) -> list[range]:
    """Give the places of each turn's messages: a turn begins where a user begins to speak."""
    begins = [
        place
        for place, message in enumerate(messages)
        if place == 0 or (message.role in _BEGIN and messages[place - 1].role not in _BEGIN)
    ]
    return [range(*pair) for pair in pairwise([*begins, len(messages)])]


def calls_of(messages: Sequence[SessionMessage]) -> list[Call]:
    """Give the calls of tools, each with the place of its result."""
    places = {id(message): place for place, message in enumerate(messages)}
    rows = paired(messages)
    return [
        Call(
            str(call.get("name")),
            places[id(message)],
            None if result is None else places[id(result)],
            result is None and message is rows[-1][0],
        )
        for message, pairs in rows
        for call, result in pairs
    ]


def rows_of(calls: Sequence[Call]) -> dict[str, int]:
    """Give each tool a row, from 1 on; the last is for all others where there are too many."""
    names = Counter(call.name for call in calls)
    order = list(dict.fromkeys(call.name for call in calls))
    if len(order) > _ROWS:
        often = {name for name, _ in names.most_common(_ROWS - 1)}
        order = [*(name for name in order if name in often)]
    return {name: row for row, name in enumerate(order, 1)}


def moments_of(messages: Sequence[SessionMessage]) -> list[float] | None:
    """Give the time of each message, in seconds since 1970.

    A clock that was set back stands still meanwhile: the order of messages is the store's. Results
    of calls that ran beside each other keep their own times, whichever is stored first.

    Returns:
        The times; ``None`` where they tell nothing: all are the same, or one is none.
    """
    times: list[Any] = [message.created_at for message in messages]
    if not all(isinstance(time, datetime) for time in times):
        return None
    moments: list[float] = []
    latest = asked = -math.inf
    for message, time in zip(messages, times, strict=True):
        is_result = message.role == "tool"
        moments.append(max(time.timestamp(), asked if is_result else latest))
        latest = max(latest, moments[-1])
        asked = asked if is_result else latest
    tells = len(moments) == 1 or (len(moments) > 1 and latest - moments[0] >= _LEAST)
    return moments if tells else None


_LEAST = 0.001  # seconds: below it, all was written at once
