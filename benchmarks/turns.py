"""One turn, one append, one read, in a session of a given length; every read is checked in full."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from measure import BURST, Loop, Measured, Use, by, interleaved
from subject import AsyncSubject, Subject

WINDOW = 20
TEXTS = ("u" * 300, "a" * 300)
_numbers = itertools.count()


@dataclass(frozen=True)
class Work:
    """What is done to a session.

    Attributes:
        name: As in the tables.
        reads: Whether messages are loaded.
        limit: How many, the last ones; all of them when ``None``.
        adds: How many messages are appended.
    """

    name: str
    reads: bool = True
    limit: int | None = None
    adds: int = 2


TURN = Work("a turn, the whole history")
WINDOWED = Work("a turn, the last 20", limit=WINDOW)
APPEND = Work("one append", reads=False, adds=1)
READ = Work("reading the whole history", adds=0)
READ_LAST = Work("reading the last 20", limit=WINDOW, adds=0)


def said_at(n: int) -> str:
    """Give the text of the message at one place of a conversation: its number, and filling."""
    return f"{n:06d}{TEXTS[n % 2][6:]}"


def texts(count: int, start: int = 0) -> list[str]:
    """Give so many messages of a conversation, of 300 characters each."""
    return [said_at(n) for n in range(start, start + count)]


def prepared(loop: Loop, subject: Subject, others: int) -> None:
    """Fill the tables with what is not asked for: so many sessions of 500 messages."""
    for _ in range(others):
        loop.run(subject.fill(new_name(subject), texts(500)))


def new_name(subject: Subject) -> str:
    """Give a session that nobody has, of letters and digits: some peers misread commas in it."""
    return f"{type(subject).__name__}{next(_numbers)}"


def check(subject: Subject, loaded: Sequence[Any], length: int, limit: int | None) -> None:
    """Require what was asked for, no more and no less, from its first message to its last.

    Every session here has whole turns, so that a window of whole turns has its full length, too.
    """
    count = length if limit is None else min(limit, length)
    assert len(loaded) == count, f"{subject.name}: {len(loaded)} of {count} messages"
    first, last = subject.text(loaded[0]), subject.text(loaded[-1])
    assert first == said_at(length - count), f"{subject.name}: not the first message"
    assert last == said_at(length - 1), f"{subject.name}: not the last message"


def once(subject: Subject, session: str, length: int, work: Work) -> Any:
    """Do the work in a session of this length, sync or async."""
    if isinstance(subject, AsyncSubject):
        return _adone(subject, session, length, work)
    if work.reads:
        check(subject, subject.load(session, work.limit), length, work.limit)
    if work.adds:
        subject.append(session, texts(work.adds, length))
    return None


async def _adone(subject: AsyncSubject, session: str, length: int, work: Work) -> None:
    if work.reads:
        check(subject, await subject.load(session, work.limit), length, work.limit)
    if work.adds:
        await subject.append(session, texts(work.adds, length))


class Sessions:
    """Sessions of one subject, each used until it has outgrown its length by a tenth."""

    def __init__(self, loop: Loop, subject: Subject, size: int, work: Work) -> None:
        """Make none yet."""
        self._loop, self._subject, self._size, self._work = loop, subject, size, work
        self._each = max(1, size // 20) if work.adds else 1000
        self._waiting: list[tuple[str, int]] = []

    def fill(self, turns: int) -> None:
        """Make sure that so many turns can be had without a session to be filled."""
        while len(self._waiting) < turns:
            session = new_name(self._subject)
            self._loop.run(self._subject.fill(session, texts(self._size)))
            lengths = itertools.count(self._size, self._work.adds)
            self._waiting += [(session, next(lengths)) for _ in range(self._each)]

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Give the next turn's session, and its length."""
        while True:
            yield self._waiting.pop(0)


def use(
    loop: Loop, subject: Subject, size: int, work: Work, *, name: str = "", burst: int = BURST
) -> Use:
    """Give one subject's work at one length, ready to be measured."""
    sessions = Sessions(loop, subject, size, work)
    ahead = iter(sessions)
    return Use(
        by(subject, name or work.name, size),
        lambda: once(subject, *next(ahead), work),
        lambda: sessions.fill(burst),
    )


def done(
    loop: Loop,
    subjects: Sequence[Subject],
    sizes: Sequence[int],
    work: Work,
    *,
    seconds: float,
    most: int,
    least: int,
    burst: int,
) -> list[Measured]:
    """Measure one kind of work of all, at all lengths, interleaved."""
    able = [one for one in subjects if one.has_window or not work.limit]
    uses = [use(loop, subject, size, work, burst=burst) for subject in able for size in sizes]
    return interleaved(loop, uses, seconds=seconds, most=most, least=least, burst=burst)
