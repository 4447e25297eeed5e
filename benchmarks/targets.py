"""What is to be reached, and whether it was: all from the figures of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import sub
from statistics import median

import parts
from branches import FORK, LENGTHS, REWIND, SAVED
from checkpointing import BARE_SAVER, WITH_FALLBACK
from crowds import DISTINCT, SHARED
from encrypting import ENCRYPTED, ENCRYPTED_TURN
from measured import Measured, paired
from outages import HEALTHY
from scaling import SCALING
from starting import IMPORT, LANGCHAIN
from target import Target
from tracing import TRACED_TURN, WITHOUT_SDK
from turns import READ, WINDOWED

BARE, HISTORY, CHATS = "the store", "SessionChatMessageHistory", "SessionChatStore"
_PEERS = ("langchain", "llama-index", "openai-agents", "langgraph")
_BOUNDS = {"redis": 1.3, "sqlite": 1.3, "postgresql": 1.5}
_MODES = ("sync", "async")
_LONG = 1000
_THREADS = 8
_CROWDED = (
    ("sqlite", "by hand", 64, 3.0),
    ("sqlite", "by hand", _THREADS, 1.0),
    ("sqlite", None, 64, 1.0),
    ("sqlite", "by hand", 1, 0.77),
    ("redis", "by hand, redis-py's client", 64, 1.5),
    ("redis", "by hand", 64, 1.0),
    ("redis", "by hand", _THREADS, 1.0),
    ("redis", "by hand", 1, 0.77),
    ("postgresql", "by hand", 64, 1.2),
    ("postgresql", "by hand", _THREADS, 1.0),
    ("postgresql", "by hand", 1, 0.77),
)
"""The backend, beside whom (``None``: the best peer), how many callers, at least how fast."""


_Pair = tuple[list[float], Measured]


class Figures:
    """The figures of a run."""

    def __init__(self, measured: Iterable[Measured]) -> None:
        """Keep what was measured, but for peers that lost messages: they had less to read."""
        self._all = [one for one in measured if one.seconds and not one.note]

    def of(self, **wanted: object) -> list[Measured]:
        """Give those of which all this is true; a tuple lists what may be."""
        return [
            one
            for one in self._all
            if all(
                getattr(one, name) in (value if isinstance(value, tuple) else (value,))
                for name, value in wanted.items()
            )
        ]

    def pairs(self, ours: Sequence[Measured], **beside: object) -> Iterator[_Pair]:
        """Give how many times the other's each of ours takes, round by round, and the other."""
        for one in ours:
            same = {"work": one.work, "backend": one.backend, "size": one.size}
            for other in self.of(**same, **{"mode": one.mode, **beside}):
                yield paired(one, other), other


def targets(measured: Iterable[Measured]) -> list[Target]:
    """Give all that can be told from these figures."""
    figures = Figures(measured)
    rows = [
        *_windowed(figures),
        *_long(figures),
        *_whole(figures),
        *_throughput(figures),
        *_scaling(figures),
        *_branches(figures),
        *_fallback(figures),
        *_checkpointing(figures),
        *_tracing(figures),
        *_encrypting(figures),
        *_wiring(figures),
    ]
    for one in figures.of(work=IMPORT, name=LANGCHAIN):
        what = "import of langchain_sessionstore over langchain-core, ms"
        rows.append(Target(what, "", "≤", 50, [taken * 1e3 for taken in one.seconds]))
    return rows


def _worst(
    what: str, where: str, sign: str, wanted: float, found: Iterable[_Pair]
) -> Iterator[Target]:
    """Give the worst of what was found: how many times the other's ours takes, and the other."""
    worst = max(found, key=lambda pair: median(pair[0]), default=None)
    if worst is not None:
        ratios, other = worst
        reached = ratios if sign == "≤" else [1 / ratio for ratio in ratios]
        yield Target(what, where.format(other), sign, wanted, reached)


def _places() -> Iterator[tuple[str, str, float]]:
    for backend, bound in _BOUNDS.items():
        for mode in _MODES:
            yield backend, mode, bound


def _windowed(figures: Figures) -> Iterator[Target]:
    what = "a turn with a window, the store over the limit"
    for backend, mode, bound in _places():
        ours = figures.of(work=WINDOWED.name, backend=backend, mode=mode, name=BARE)
        found = figures.pairs(ours, family="limit", name="by hand")
        where = f"{backend}, {mode}; worst of all lengths, at {{0.size:,}}"
        yield from _worst(what, where, "≤", bound, found)


def _long(figures: Figures) -> Iterator[Target]:
    what = "a turn with a window, at 100,000 messages over the one at {}"
    for backend, mode, _ in (*_places(), ("memory", "sync", 0), ("memory", "async", 0)):
        wanted = {"work": WINDOWED.name, "backend": backend, "mode": mode}
        for short, sign, remark in ((10, "≤", ""), (100, "", "; both views hold 20")):
            ours, limit = (_growth(figures, name, short, wanted) for name in (BARE, "by hand"))
            if ours:
                beside = f"; the limit: {median(limit):.2f}" if limit else ""
                where = f"{backend}, {mode}{remark}{beside}"
                yield Target(what.format(short), where, sign, 1.2, ours)


def _growth(figures: Figures, name: str, size: int, wanted: dict[str, str]) -> list[float]:
    long, short = (figures.of(**wanted, name=name, size=one) for one in (100_000, size))
    return paired(long[0], short[0]) if long and short else []


def _whole(figures: Figures) -> Iterator[Target]:
    for backend, mode, _ in _places():
        where = f"{backend}, {mode}; {{0.name}}"
        same = {"work": READ.name, "backend": backend, "mode": mode, "size": _LONG}
        histories, chats = (figures.of(**same, name=name) for name in (HISTORY, CHATS))
        for what, sign, wanted, ours, family in (
            (f"reading {_LONG:,}, the history over the naive way", "≤", 1.0, histories, "naive"),
            (f"reading {_LONG:,}, times faster than LangChain's", "≥", 3.0, histories, "langchain"),
            (f"reading {_LONG:,}, times faster than LlamaIndex's", "≥", 1.5, chats, "llama-index"),
        ):
            yield from _worst(what, where, sign, wanted, figures.pairs(ours, family=family))


def _throughput(figures: Figures) -> Iterator[Target]:
    for work in (DISTINCT, SHARED):
        for backend, mode, _ in _places():
            crowd = {"sync": "8 threads", "async": "64 tasks"}[mode]
            where = f"{backend}, {crowd}; {{0.name}}"
            same = {"work": work, "backend": backend, "mode": mode}
            bare, histories = (figures.of(**same, name=name) for name in (BARE, HISTORY))
            for what, wanted, ours, family in (
                ("the store over the best peer", 1.0, bare, _PEERS),
                ("the store over the limit", 0.8, bare, "limit"),
                ("the history over the best of LangChain's", 2.0, histories, "langchain"),
            ):
                beside: dict[str, object] = {"family": family}
                if family == "limit":
                    beside["name"] = "by hand"
                found = figures.pairs(ours, **beside)
                yield from _worst(f"{work}: {what}", where, "≥", wanted, found)


def _scaling(figures: Figures) -> Iterator[Target]:
    what = f"{SCALING}: the store over "
    for backend, name, callers, wanted in _CROWDED:
        mode = "sync" if callers == _THREADS else "async"
        same = {"work": SCALING, "backend": backend, "mode": mode, "size": callers}
        where = f"{backend}, {callers} {'threads' if mode == 'sync' else 'tasks'}; {{0.name}}"
        ours = figures.of(**same, name=BARE)
        beside: dict[str, object] = {"name": name} if name else {"family": _PEERS}
        found = figures.pairs(ours, **beside)
        yield from _worst(what + (name or "the best peer"), where, "≥", wanted, found)


def _branches(figures: Figures) -> Iterator[Target]:
    short, long = LENGTHS
    for one in figures.of(work=FORK, name=BARE):
        what = f"forking {one.size:,} messages over {SAVED}"
        yield from _worst(what, one.backend, "≤", 1.0, figures.pairs([one], name=SAVED))
    for one in figures.of(work=REWIND, name=BARE, size=long):
        same = {"work": REWIND, "name": BARE, "backend": one.backend, "size": short}
        what = f"{REWIND}, of {long:,} over one of {short:,}"
        for other in figures.of(**same):
            yield Target(what, one.backend, "≤", 1.2, paired(one, other))


def _fallback(figures: Figures) -> Iterator[Target]:
    what = "the healthy fallback over its bare primary"
    for one in figures.of(work=HEALTHY, name="the store, with a fallback"):
        found = figures.pairs([one], name=BARE)
        yield from _worst(what, f"{one.backend}, {one.mode}", "≤", 1.15, found)


def _checkpointing(figures: Figures) -> Iterator[Target]:
    what = "a checkpointer with a healthy fallback over its bare primary"
    for one in figures.of(name=WITH_FALLBACK):
        found = figures.pairs([one], name=BARE_SAVER)
        where = f"{one.backend}, {one.mode}; a thread of {one.size:,} turns"
        yield from _worst(what, where, "≤", 1.25, found)


def _tracing(figures: Figures) -> Iterator[Target]:
    what = "the traced store over the store, where no OpenTelemetry SDK is there"
    for one in figures.of(work=TRACED_TURN, name=WITHOUT_SDK):
        found = figures.pairs([one], name=BARE)
        yield from _worst(what, f"{one.backend}, {one.mode}", "≤", 1.05, found)


def _encrypting(figures: Figures) -> Iterator[Target]:
    what = "the encrypted store over the store"
    for one in figures.of(work=ENCRYPTED_TURN, name=ENCRYPTED, backend="sqlite"):
        found = figures.pairs([one], name=BARE)
        yield from _worst(what, f"{one.backend}, {one.mode}", "≤", 1.3, found)


def _wiring(figures: Figures) -> Iterator[Target]:
    groups: dict[tuple[str, str, str], list[tuple[list[float], float, int]]] = {}
    for one in figures.of(name=parts.OURS):
        same = {"work": one.work, "backend": one.backend, "mode": one.mode, "size": one.size}
        alone, theirs = (figures.of(**same, name=name) for name in (parts.PARTS, parts.THEIRS))
        beside = median(_added(theirs[0], alone[0])) if theirs else math.nan
        found = _added(one, alone[0]), beside, one.size
        groups.setdefault((one.work, one.backend, one.mode), []).append(found)
    for (work, backend, mode), differences in groups.items():
        ours, theirs_added, size = max(differences, key=lambda one: median(one[0]))
        shape = work.partition(": ")[2]
        where = f"{backend}, {mode}, {shape}; worst of all lengths, at {size:,}"
        told = f"; {parts.THEIRS}: {theirs_added:.2f}"
        what = "with_session_history over its parts, ms"
        yield Target(what, where + told, "≤", 0.3, ours)


def _added(one: Measured, alone: Measured) -> list[float]:
    """Give what one takes over what is in it, round by round, in milliseconds."""
    return [taken * 1e3 for taken in paired(one, alone, sub)]
