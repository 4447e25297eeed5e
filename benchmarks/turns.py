"""A turn: load what the agent sees, and append what the user and the assistant said.

Each subject has its sessions, filled beforehand, and beside them 10,000 messages of other sessions.
A session takes a few turns only, so that it stays about as long as it is said to be. What was
loaded is checked, by its length and its last message, in the time that is measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from measure import BURST, Loop, Measured, Step, colour, interleaved
from subject import AsyncSubject, Subject

WINDOW = 20
TEXTS = ("u" * 300, "a" * 300)
OTHERS = 100


def texts(count: int) -> list[str]:
    """Give a conversation of so many messages of 300 characters, each with its number in front."""
    return [f"{n:06d}{TEXTS[n % 2][6:]}" for n in range(count)]


def prepared(loop: Loop, subject: Subject) -> None:
    """Fill the tables with what is not asked for."""
    for n in range(OTHERS):
        loop.run(subject.fill(f"{own(subject)}-other-{n}", texts(100)))


def own(subject: Subject) -> str:
    """Give what a subject's sessions begin with: some share a database."""
    return f"{type(subject).__name__}-{id(subject)}"


def turn(subject: Subject, sessions: Iterator[tuple[str, int]], limit: int | None) -> Step:
    """Give a turn in the next session, whatever the colour."""
    if isinstance(subject, AsyncSubject):
        return lambda: _aturn(subject, *next(sessions), limit)
    return lambda: _turn(subject, *next(sessions), limit)


def _turn(subject: Subject, session: str, length: int, limit: int | None) -> None:
    check(subject, subject.load(session, limit), length, limit)
    subject.append(session, TEXTS)


async def _aturn(subject: AsyncSubject, session: str, length: int, limit: int | None) -> None:
    check(subject, await subject.load(session, limit), length, limit)
    await subject.append(session, TEXTS)


def check(subject: Subject, loaded: Sequence[Any], length: int, limit: int | None) -> None:
    """Require that all that was asked for is there, to the last message."""
    wanted = length if limit is None or not subject.has_window else min(limit, length)
    # A window starts with a user's message: ours may be one shorter.
    assert wanted - 1 <= len(loaded) <= wanted, (subject.name, len(loaded), wanted)
    last = subject.text(loaded[-1])
    assert last in (TEXTS[1], texts(length)[-1] if length < 10 else last), subject.name
    assert last.endswith(TEXTS[(length - 1) % 2][6:]), subject.name


class Sessions:
    """The sessions of one subject that are about so long, each for a few turns."""

    def __init__(self, loop: Loop, subject: Subject, size: int) -> None:
        """Name them; each is filled before it is used, not while anything is measured."""
        self._loop, self._subject, self._size = loop, subject, size
        self._turns = max(1, size // 20)
        self._waiting: list[tuple[str, int]] = []
        self._numbers = itertools.count()
        self._now: tuple[str, int] | None = None

    def fill(self, turns: int) -> None:
        """Make sure that there are enough for so many turns."""
        while len(self._waiting) * self._turns < turns:
            session = f"{own(self._subject)}-{self._size}-{next(self._numbers)}"
            self._loop.run(self._subject.fill(session, texts(self._size)))
            self._waiting.append((session, self._size))

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Give the next turn's session, and its length."""
        for session, length in self._waiting:
            for n in range(self._turns):
                yield session, length + 2 * n


def turns(
    loop: Loop,
    subjects: Sequence[Subject],
    size: int,
    limit: int | None,
    *,
    seconds: float,
    most: int,
) -> list[Measured]:
    """Measure a turn of each, interleaved, at one length."""
    work = "a turn, the whole history" if limit is None else f"a turn, the last {limit}"
    steps = []
    for subject in subjects:
        sessions = Sessions(loop, subject, size)
        sessions.fill((most + 1) * BURST)
        step = turn(subject, iter(sessions), limit)
        measured = Measured(
            work, subject.backend, colour(subject), subject.name, subject.family, size
        )
        for _ in range(BURST):
            loop.run(step())
        steps.append((measured, step))
    interleaved(loop, steps, seconds=seconds, most=most)
    return [measured for measured, _ in steps]


Made = Callable[[str], Subject]
