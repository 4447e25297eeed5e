"""`outage_timeline`: when a fallback was without its primary, and what became of what waited."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sessionstore.plots.clock import Clock, duration, merged, ticks
from sessionstore.plots.happenings import Mark, Outage, Wait, marks_of, outages_of, waits_of
from sessionstore.plots.looks import Look, Theme, drawable, finished, look_of, prepared
from sessionstore.stats import StoreStats

__all__ = ["outage_timeline"]

_LETTER = 0.008  # of the axis: what a letter takes
_MARKED = {"slow_session": "slow sessions", "rejected": "set aside"}


class _Scene(NamedTuple):
    """What is drawn, and where."""

    stats: StoreStats
    outages: list[Outage]
    marks: list[Mark]
    now: float
    clock: Clock
    width: float
    look: Look


def outage_timeline(store: Any, *, figure: Figure | None = None, theme: Theme = "auto") -> Figure:
    """Draw when a fallback was without its primary, what waited for it, and the replay.

    It takes what `stats` tells: the last 100 things that happened, and how things stand now. No
    store is asked, so the picture costs a server nothing, also in an outage. Long times without
    anything are shortened. How many writes waited at each moment is not recorded: an outage that is
    over shows how many were replayed, or set aside, after it, and the last one how many wait now.
    Nothing in it tells whose sessions these were.

    Example:
        >>> from sessionstore import FallbackSessionStore, InMemorySessionStore
        >>> from sessionstore.plots import outage_timeline
        >>> store = FallbackSessionStore(InMemorySessionStore())
        >>> outage_timeline(store)  # a notebook shows it
        <Picture size 1100x230 with 1 Axes>

    Args:
        store: A `FallbackSessionStore`, a wrapper around one, or a ``FallbackCheckpointer`` of
            ``langgraph_sessionstore``: what has ``stats()``. Without a fallback nothing happens
            that it could show.
        figure: A figure to draw into; a new one if ``None``.
        theme: ``"light"`` or ``"dark"``, on a ground of that kind; ``"auto"`` has none, and is
            readable on both.

    Returns:
        The figure: a new one is a `Picture`, which no pyplot knows of.

    Raises:
        TypeError: ``store`` has no ``stats()``, or ``figure`` is not a figure.
        ValueError: There is no such theme.
    """
    look, stats = look_of(theme), _stats(store)
    now = datetime.now(timezone.utc).timestamp()
    outages, marks = outages_of(stats), marks_of(stats)
    kinds = [kind for kind in _MARKED if any(mark.kind == kind for mark in marks)]
    figure = prepared(figure, look, 2.3 + 0.4 * len(kinds))
    axes = figure.add_subplot()
    axes.set_title(_title(stats, outages), loc="left", fontsize=11, color=look.ink)
    scene = _scene(stats, outages, marks, now, look)
    _primary(axes, scene)
    _waiting(axes, scene)
    _replay(axes, scene)
    for row, kind in enumerate(kinds, 3):
        _marked(axes, [mark for mark in marks if mark.kind == kind], row, scene)
    _frame(axes, ["primary", "pending", "replay", *(_MARKED[kind] for kind in kinds)], scene)
    return finished(figure, look)


def _stats(store: Any) -> StoreStats:
    stats = store.stats() if callable(getattr(store, "stats", None)) else None
    if not isinstance(stats, StoreStats):
        raise TypeError(f"store must be a store, or have its stats(): not {type(store).__name__}")
    return stats


def _scene(
    stats: StoreStats, outages: list[Outage], marks: list[Mark], now: float, look: Look
) -> _Scene:
    """Lay out: outages with their replays have their length, all else a little room."""
    now = max([now, *(mark.at for mark in marks), *(_over(one, now) for one in outages)])
    spans = [(one.begin, _over(one, now)) for one in outages]
    spans += [(mark.at, mark.at) for mark in marks]
    clock = Clock(merged([*spans, (now, now)]))
    return _Scene(stats, outages, marks, now, clock, clock.bands[-1][1], look)


def _over(outage: Outage, now: float) -> float:
    return max(outage.settled or 0, outage.end or 0) if outage.end else now


# -- What is drawn --------------------------------------------------------------------------------


def _primary(axes: Axes, scene: _Scene) -> None:
    look, at = scene.look, scene.clock.at
    left = -0.05 * scene.width
    edges = [(at(one.begin), at(one.end or scene.now)) for one in scene.outages]
    free = zip(
        [left, *(end for _, end in edges)], [*(e for e, _ in edges), at(scene.now)], strict=True
    )
    healthy = [(begin, end - begin) for begin, end in free if end > begin]
    away = [(begin, max(end - begin, 0.003 * scene.width)) for begin, end in edges]
    _bars(axes, healthy, 0, look.good, "healthy")
    _bars(axes, away, 0, look.bad, "degraded")
    told = []
    for one, (begin, end) in zip(scene.outages, edges, strict=True):
        took = duration((one.end or scene.now) - one.begin)
        why = f", {drawable(one.error)}" if one.error and len(edges) == 1 else ""
        told.append(((begin + end) / 2, f"away for {took}{'' if one.end else ' so far'}{why}"))
    _words(axes, told, 0, scene)


def _waiting(axes: Axes, scene: _Scene) -> None:
    """Draw from when to when writes waited, and how many."""
    at, least = scene.clock.at, 0.003 * scene.width
    waits = waits_of(scene.stats, scene.outages, scene.now)
    edges = [(at(one.begin), at(one.end)) for one in waits]
    spans = [(begin, max(end - begin, least)) for begin, end in edges]
    _bars(axes, spans, 1, scene.look.tool, "pending")
    told = [((begin + end) / 2, _told(one)) for one, (begin, end) in zip(waits, edges, strict=True)]
    _words(axes, told, 1, scene)


def _told(wait: Wait) -> str:
    now = "waits now" if wait.number == 1 else "wait now"
    return f"{wait.number:,} {now if wait.is_now else 'waited'}"


def _replay(axes: Axes, scene: _Scene) -> None:
    look, at = scene.look, scene.clock.at
    done = [one for one in scene.outages if one.replayed and one.settled]
    edges = [(at(one.end or one.begin), at(one.settled or one.begin)) for one in done]
    least = 0.003 * scene.width
    _bars(axes, [(begin, max(end - begin, least)) for begin, end in edges], 2, look.user, "replay")
    pairs = zip(done, edges, strict=True)
    _words(axes, [(end, f"{one.replayed:,} replayed") for one, (_, end) in pairs], 2, scene)
    early = [mark for mark in scene.marks if mark.kind == "replayed"]
    _marked(axes, early, 2, scene)


def _marked(axes: Axes, marks: Sequence[Mark], row: int, scene: _Scene) -> None:
    if not marks:
        return
    look, kind = scene.look, marks[0].kind
    color, marker = (look.bad, "X") if kind == "rejected" else (look.tool, "D")
    places = [scene.clock.at(mark.at) for mark in marks]
    style: Any = {"color": color, "marker": marker, "markersize": 7, "gid": kind}
    axes.plot(places, [row] * len(marks), linestyle="none", **style)
    numbers = [f"{mark.number:,}" for mark in marks]
    _words(axes, list(zip(places, numbers, strict=True)), row, scene)


def _bars(
    axes: Axes, spans: Sequence[tuple[float, float]], row: int, color: str, kind: str
) -> None:
    if spans:
        half = 0.06 if kind == "healthy" else 0.16  # told apart without the colours, too
        axes.broken_barh(spans, (row - half, 2 * half), facecolor=color, zorder=2).set_gid(kind)


def _words(axes: Axes, told: Sequence[tuple[float, str]], row: int, scene: _Scene) -> None:
    """Write words above a row; where they would meet, those of what is newer."""
    style: Any = {"ha": "center", "va": "bottom", "fontsize": 9, "color": scene.look.ink}
    free = float("inf")
    for place, words in reversed(told):
        half = len(words) * _LETTER * scene.width / 2
        if place + half <= free:
            axes.text(place, row - 0.2, words, gid="words", **style)
            free = place - half


# -- Axes -----------------------------------------------------------------------------------------


def _frame(axes: Axes, names: Sequence[str], scene: _Scene) -> None:
    axes.set_yticks(range(len(names)), labels=names)
    axes.set_ylim(len(names) - 0.6, -0.7)
    at = scene.clock.at
    axes.set_xlim(-0.05 * scene.width, at(scene.now) + 0.06 * scene.width)
    moments = [one.begin for one in scene.outages] + [one.end for one in scene.outages if one.end]
    moments = [*[mark.at for mark in scene.marks], *moments]
    wanted = [(at(moment), moment) for moment in [scene.now, *reversed(moments)]]
    chosen = ticks(wanted, scene.width)
    labels = [words if place != at(scene.now) else f"now\n{words}" for place, words in chosen]
    axes.set_xticks([place for place, _ in chosen], labels=labels)
    shortened = "; long times without an event are shortened" * scene.clock.shortens
    axes.set_xlabel(f"time (UTC){shortened}")


def _title(stats: StoreStats, outages: Sequence[Outage]) -> str:
    state = "degraded" if stats.is_degraded else "healthy"
    count = f"{len(outages):,} outage{'' if len(outages) == 1 else 's'}"
    known = "" if stats.events or outages else "; nothing has happened to a fallback here"
    return (
        f"Primary {state}\n{count}; {stats.pending:,} pending; {stats.rejected:,} set aside{known}"
    )
