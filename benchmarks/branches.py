"""What a fork and a rewind cost, beside the appends that they save."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, closing

from measure import BURST, Loop, Measured, Use, interleaved
from ours import Bare, said
from places import Place
from turns import texts

from sessionstore import SessionMessage

FORK, REWIND = "forking a session", "rewinding by two messages"
FORKED, APPENDS = 1000, 25
SAVED = f"{APPENDS} appends of one"
LENGTHS = (100, 10_000)


def branches(loop: Loop, backend: str, place: Place, *, seconds: float) -> list[Measured]:
    """Measure forks of a thousand messages, and rewinds in a short session and in a long one."""
    with ExitStack() as stack:
        subject = stack.enter_context(closing(Bare(backend, place(fresh=True))))
        uses = [*_forks(subject), *(_rewinds(subject, length) for length in LENGTHS)]
        return interleaved(loop, uses, seconds=seconds, most=100)


def _forks(subject: Bare) -> Iterator[Use]:
    subject.fill("forked", texts(FORKED))
    store, numbers = subject.store, itertools.count()

    def fork() -> None:
        assert store.fork("forked", f"fork-{next(numbers)}").message_count == FORKED

    def append() -> None:
        for text in texts(APPENDS):
            assert store.append_messages("appended", said([text])) == 1

    yield Use(_measured(subject, FORK, "the store", FORKED), fork)
    yield Use(_measured(subject, FORK, SAVED, FORKED), append)


def _rewinds(subject: Bare, length: int) -> Use:
    store, session = subject.store, f"rewound-{length}"
    subject.fill(session, texts(length))
    more = [SessionMessage("user", text, id=f"m{n}") for n, text in enumerate(texts(2 * BURST))]
    store.append_messages(session, [SessionMessage("user", "the last one", id="m-1")])
    ends: Iterator[int] = iter(())

    def append() -> None:
        nonlocal ends
        assert store.append_messages(session, more) == len(more)
        ends = iter(range(len(more) - 3, -2, -2))

    def rewind() -> None:
        assert len(store.rewind(session, to=f"m{next(ends)}")) == 2

    return Use(_measured(subject, REWIND, "the store", length), rewind, append)


def _measured(subject: Bare, work: str, name: str, size: int) -> Measured:
    return Measured(work, subject.backend, "sync", name, "ours", size)
