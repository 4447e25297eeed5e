"""Who takes part: the limits, ours, and the peers that can be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import peers
import peers_agents
import peers_langchain
import peers_langgraph
import peers_llama_index
from limits import LIMITS, AsyncSQLiteNormalByHand, SQLiteNormalByHand
from measure import Loop
from ours import AsyncNormal, Normal, ours
from places import Place
from subject import Subject
from turns import prepared

_PEERS = tuple(
    one
    for module in (peers_langchain, peers_llama_index, peers_agents, peers_langgraph)
    for one in module.SUBJECTS
)
_NORMAL = (SQLiteNormalByHand, AsyncSQLiteNormalByHand, Normal, AsyncNormal)


def _house(backend: str, place: Place) -> list[Subject]:
    made = [kind(place(backend) or "") for kind in (*LIMITS.get(backend, ()), *ours(backend))]
    return made + [kind(place(backend) or "") for kind in _NORMAL if backend == "sqlite"]


def _guests(loop: Loop, backend: str, place: Place, missing: list[str]) -> Iterator[Subject]:
    """Make the peers that there are, and tell of the others."""
    for kind in (one for one in _PEERS if one.backend.removesuffix("-stack") == backend):
        there, told = peers.had(kind.needs, [kind])
        missing.extend(told)
        url = place(kind.backend)
        if there and url is None:
            missing.append(f"{kind.name}: no server with its modules")
        elif there:
            try:
                subject = kind(url)
                prepared(loop, subject)
                yield subject
            except Exception as error:  # noqa: BLE001 - whatever a peer raises is told
                told = f"{type(error).__name__}: {error}".partition("\n")[0]
                missing.append(f"{kind.name}, {backend}: failed: {told}")


@contextmanager
def everyone(loop: Loop, backend: str, place: Place, missing: list[str]) -> Iterator[list[Subject]]:
    """Give all, in tables that hold other rows already; closed at the end."""
    subjects = _house(backend, place)
    for subject in subjects:
        prepared(loop, subject)
    subjects += _guests(loop, backend, place, missing)
    try:
        yield subjects
    finally:
        for subject in subjects:
            loop.run(subject.close())
