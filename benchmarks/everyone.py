"""Who takes part: the limits, ours, and the peers that can be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from all_peers import all_peers
from limits import LIMITS
from measure import Loop
from ours import AsyncNormal, Normal, ours
from places import Place
from subject import Subject
from turns import prepared

_NORMAL = (Normal, AsyncNormal)


@contextmanager
def everyone(
    loop: Loop, backend: str, place: Place, missing: list[str], others: int
) -> Iterator[list[Subject]]:
    """Give all, in tables that hold other rows already; closed at the end."""
    house = [*LIMITS.get(backend, ()), *ours(backend), *(_NORMAL if backend == "sqlite" else ())]
    subjects = [kind(place()) for kind in house]
    for subject in subjects:
        prepared(loop, subject, others)
    subjects += _guests(loop, backend, place, missing, others)
    try:
        yield subjects
    finally:
        for subject in subjects:
            loop.run(subject.close())


def _guests(
    loop: Loop, backend: str, place: Place, missing: list[str], others: int
) -> Iterator[Subject]:
    """Make the peers that are installed, and name the others."""
    there, reasons = all_peers(backend)
    missing.extend(reasons)
    for kind in there:
        try:
            subject = kind(place())
            prepared(loop, subject, others)
            yield subject
        except Exception as error:  # noqa: BLE001 - whatever a peer raises is told
            told = f"{type(error).__name__}: {error}".partition("\n")[0]
            missing.append(f"{getattr(kind, 'name', kind)} on {backend}: failed: {told}")
