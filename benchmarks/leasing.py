"""What a lease costs: to take it and give it back, and to append under it."""

from __future__ import annotations

import itertools
from contextlib import ExitStack, closing

from measure import Loop, Measured, Use, interleaved
from ours import Bare, said
from places import Place
from turns import texts

UNDER, TAKING = "one append under a lease", "taking a lease and giving it back"
PLAIN, LEASED = "without a lease", "under one that is held"
_LONG = 3600.0


def leasing(loop: Loop, backend: str, place: Place, *, seconds: float) -> list[Measured]:
    """Measure appends with and without a lease, and what it takes to have one."""
    with ExitStack() as stack:
        subject = stack.enter_context(closing(Bare(backend, place(fresh=True))))
        lease = stack.enter_context(subject.store.lease("leased", seconds=_LONG))
        store, [text], numbers = subject.store, texts(1), itertools.count()

        def take() -> None:
            with store.lease(f"taken-{next(numbers) % 100}"):
                pass

        def plain() -> None:
            assert store.append_messages("plain", said([text])) == 1

        def leased() -> None:
            assert store.append_messages("leased", said([text]), lease=lease) == 1

        steps = ((UNDER, PLAIN, plain), (UNDER, LEASED, leased), (TAKING, "the store", take))
        uses = [Use(_measured(subject, work, name), step) for work, name, step in steps]
        return interleaved(loop, uses, seconds=seconds, most=100)


def _measured(subject: Bare, work: str, name: str) -> Measured:
    return Measured(work, subject.backend, "sync", name, "ours", 0)
