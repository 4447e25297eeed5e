"""`session_timeline`: what happened in a session, turn by turn, call by call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from sessionstore.forms.usage import Tokens, tokens_of
from sessionstore.models import SessionData, SessionInfo
from sessionstore.plots.clock import Clock, Span, duration, ticks
from sessionstore.plots.looks import Look, Theme, drawable, finished, look_of, prepared
from sessionstore.plots.turns import Call, calls_of, moments_of, rows_of, turns_of

__all__ = ["session_timeline"]

# What is drawn at most: of one kind in one row, with words, beside each other in a row.
_MARKS, _WORDS, _LANES = 1_000, 25, 3
_NAMED, _GROUPS = 8, 12  # turns: more than these have no word but their number, or share bands
_APART = 0.16  # of a row: roles stand so far from each other where there are many messages
_ROLES = {
    "user": ("o", "user"),
    "assistant": ("s", "good"),
    "tool": ("D", "tool"),
    "system": ("^", "ink"),
    "other": ("v", "ink"),
}
# Of the axis: the least that a call is drawn with, and one whose result never came.
_DONE, _OPEN = 0.004, 0.03


class _Scale(NamedTuple):
    """Where the messages and turns of a session are on the axis of time."""

    places: list[float]
    bands: list[Span]
    width: float
    moments: list[float] | None
    shortens: bool


def session_timeline(
    session: SessionData | SessionInfo, *, figure: Figure | None = None, theme: Theme = "auto"
) -> Figure:
    """Draw what happened in a session: turns as bands, calls of tools as bars, tokens below.

    A call goes from the time of the message that asks for it to that of its result; it is hatched
    where that never came. Pauses between turns are shortened, and a turn that took no time has some
    room. Where the times of messages tell nothing, as of those that were saved at once, the
    messages stand in their order. Where a message says how many tokens it took (LangChain's
    ``usage_metadata``, ``usage`` of OpenAI and LlamaIndex, …), these are drawn, too.

    Of what was said there is nothing in it but names of tools, and the session's id. However long
    the session, what is drawn is bounded: turns that are too many share a band, as in ``1-20``.

    Example:
        >>> from sessionstore import InMemorySessionStore
        >>> from sessionstore.plots import session_timeline
        >>> store = InMemorySessionStore()
        >>> store.append_message("s1", {"role": "user", "content": "Hello!"})
        1
        >>> session_timeline(store.get("s1"))  # a notebook shows it
        <Picture size 1100x240 with 1 Axes>

    Args:
        session: The session, with the messages to draw.
        figure: A figure to draw into; a new one if ``None``.
        theme: ``"light"`` or ``"dark"``, on a ground of that kind; ``"auto"`` has none, and is
            readable on both.

    Returns:
        The figure: a new one is a `Picture`, which no pyplot knows of.

    Raises:
        TypeError: ``session`` is not a session, or ``figure`` not a figure.
        ValueError: There is no such theme.
    """
    if not isinstance(session, (SessionData, SessionInfo)):
        kind = "None: there is no such session" if session is None else type(session).__name__
        raise TypeError(f"session must be a SessionData, as store.get(id) gives, not {kind}")
    look, messages = look_of(theme), session.messages
    calls = calls_of(messages)
    rows = rows_of(calls)
    tokens = [tokens_of(message) for message in messages]
    height = 2.0 + 0.4 * (len(set(rows.values())) + 1) + 1.4 * any(tokens)
    figure = prepared(figure, look, height)
    above, below = _axes(figure, 1 + len(rows), has_tokens=any(tokens))
    above.set_title(_title(session, calls, tokens), loc="left", fontsize=11, color=look.ink, pad=20)
    if not messages:
        _nothing(above, look)
        return finished(figure, look)
    scale = _scale(messages)
    _turns(above, scale, look)
    _messages(above, messages, scale, look)
    for row in range(1, len(rows) + 2):
        _calls(above, [call for call in calls if _row(call, rows) == row], row, scale, look)
    _rows(above, rows, calls)
    if below is not None:
        _tokens(below, tokens, scale, look)
    _times(below or above, scale)
    above.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)
    return finished(figure, look)


def _axes(figure: Figure, rows: int, *, has_tokens: bool) -> tuple[Axes, Axes | None]:
    if not has_tokens:
        return figure.add_subplot(), None
    parts: Any = figure.subplots(2, sharex=True, height_ratios=[0.4 * rows + 0.6, 1.2])
    return parts[0], parts[1]


def _scale(messages: Sequence[Any]) -> _Scale:
    turns, moments = turns_of(messages), moments_of(messages)
    if moments is None:
        bands = [(turn[0] + 0.6, turn[-1] + 1.4) for turn in turns]
        places = [float(number) for number in range(1, len(messages) + 1)]
        return _Scale(places, bands, len(messages), None, shortens=False)
    clock = Clock([(moments[turn[0]], _end(turn, moments)) for turn in turns])
    places = [
        place
        for turn, band in zip(turns, clock.bands, strict=True)
        for place in _within(turn, band, moments)
    ]
    return _Scale(places, clock.bands, clock.bands[-1][1], moments, clock.shortens)


def _within(turn: range, band: Span, moments: Sequence[float]) -> Iterator[float]:
    """Place a turn's messages in its band: by their times, or in order where these are the same."""
    (left, right), begin = band, moments[turn[0]]
    took = _end(turn, moments) - begin
    for n, place in enumerate(turn):
        part = (moments[place] - begin) / took if took else (n + 1) / (len(turn) + 1)
        yield left + (right - left) * part


def _end(turn: range, moments: Sequence[float]) -> float:
    return max(moments[place] for place in turn)  # of two results, the first may be the last stored


# -- What is drawn --------------------------------------------------------------------------------


def _turns(axes: Axes, scale: _Scale, look: Look) -> None:
    """Draw the bands of the turns, each with its number; those that are too many, together."""
    number = len(scale.bands)
    step = 1 if number <= _WORDS else -(-number // _GROUPS)
    groups = [scale.bands[first : first + step] for first in range(0, number, step)]
    spans = [(group[0][0], group[-1][1] - group[0][0]) for group in groups]
    across = axes.get_xaxis_transform()
    drawn = axes.broken_barh(spans, (0, 1), transform=across, facecolor=look.band, zorder=0)
    drawn.set_gid("turns")
    for n, (left, width) in enumerate(spans):
        first, last = n * step + 1, min((n + 1) * step, number)
        words = f"{first}" if first == last else f"{first}-{last}"
        words = f"turn {words}" if number <= _NAMED else words
        style: Any = {"ha": "center", "va": "bottom", "fontsize": 9, "color": look.ink}
        axes.text(left + width / 2, 1.0, words, transform=across, gid="turn", **style)


def _messages(axes: Axes, messages: Sequence[Any], scale: _Scale, look: Look) -> None:
    is_crowded = len(messages) > _MARKS / 10
    by_role: dict[str, list[float]] = {}
    for message, place in zip(messages, scale.places, strict=True):
        role = message.role if message.role in _ROLES else "other"
        by_role.setdefault(role, []).append(place)
    for role, places in by_role.items():
        marker, color = _ROLES[role]
        y = (list(_ROLES).index(role) - 1.5) * _APART if is_crowded else 0
        shown = _thinned(places, scale.width, lambda place: place)
        style: Any = {"color": getattr(look, color), "markersize": 3 if is_crowded else 6}
        style |= {"linestyle": "none", "marker": marker, "label": role, "gid": "messages"}
        axes.plot(shown, [y] * len(shown), **style)


def _row(call: Call, rows: dict[str, int]) -> int:
    return rows.get(call.name, len(rows) + 1)


def _calls(axes: Axes, calls: Sequence[Call], row: int, scale: _Scale, look: Look) -> None:
    """Draw the calls of one tool, those that ran beside each other in lanes."""
    ends = [0.0] * _LANES
    shown = _thinned(calls, scale.width, lambda call: scale.places[call.begin])
    drawn: dict[str, list[tuple[float, float, float]]] = {"done": [], "open": [], "waiting": []}
    lanes = _laned(shown, scale, ends)
    height = 0.64 / max(1 + max((lane for _, _, lane in lanes), default=0), 1)
    for call, (left, right), lane in lanes:
        kind = "done" if call.end is not None else "waiting" if call.is_waiting else "open"
        drawn[kind].append((left, right, row - 0.32 + height * (lane + 0.5)))
    for kind, bars in drawn.items():
        _bars(axes, kind, bars, height, look)
    if scale.moments and len(calls) <= _WORDS:
        _durations(axes, lanes, drawn["done"], scale, look)


def _laned(calls: Sequence[Call], scale: _Scale, ends: list[float]) -> list[tuple[Call, Span, int]]:
    bands = iter(scale.bands)
    band = next(bands)
    lanes: list[tuple[Call, Span, int]] = []
    for call in calls:
        left = scale.places[call.begin]
        while left > band[1] and (after := next(bands, None)):
            band = after
        end = band[1] if call.end is None else scale.places[call.end]
        right = max(end, left + (_OPEN if call.end is None else _DONE) * scale.width)
        lane = next((n for n, busy in enumerate(ends) if busy <= left), _LANES - 1)
        ends[lane] = max(ends[lane], right)
        lanes.append((call, (left, right), lane))
    return lanes


def _bars(
    axes: Axes, kind: str, bars: Sequence[tuple[float, float, float]], height: float, look: Look
) -> None:
    if not bars:
        return
    color = look.bad if kind == "open" else look.tool
    hatched: Any = {"facecolor": "none", "edgecolor": color, "hatch": "////", "linewidth": 1}
    style: Any = {"facecolor": color} if kind == "done" else hatched
    words = {"done": "call", "open": "no result", "waiting": "waits for its result"}[kind]
    known = axes.get_legend_handles_labels()[1]
    for y in sorted({y for _, _, y in bars}):
        spans = [(left, right - left) for left, right, at in bars if at == y]
        label = f"_{words}" if words in known else words
        drawn = axes.broken_barh(spans, (y - height * 0.42, height * 0.84), label=label, **style)
        drawn.set_gid(kind)
        known.append(words)
    if kind == "open":
        ends, ys = [right for _, right, _ in bars], [y for _, _, y in bars]
        crosses: Any = {"marker": "X", "markersize": 7, "label": "_end", "gid": "interrupted"}
        axes.plot(ends, ys, linestyle="none", color=color, **crosses)


def _durations(
    axes: Axes,
    lanes: Sequence[tuple[Call, Span, int]],
    bars: Sequence[tuple[float, float, float]],
    scale: _Scale,
    look: Look,
) -> None:
    """Write beside each bar how long it took, where there is room until the next one."""
    moments = scale.moments or []
    done = [call for call, _, _ in lanes if call.end is not None]
    for call, (_, right, y) in zip(done, bars, strict=True):
        room = min((left for left, _, at in bars if at == y and left >= right), default=None)
        if room is not None and room - right < 0.07 * scale.width:
            continue
        words = duration(moments[call.end or 0] - moments[call.begin])
        style: Any = {"va": "center", "fontsize": 9, "color": look.ink, "gid": "duration"}
        axes.annotate(words, (right, y), (4, 0), textcoords="offset points", **style)


def _tokens(axes: Axes, tokens: Sequence[Tokens | None], scale: _Scale, look: Look) -> None:
    told = [(place, one) for place, one in zip(scale.places, tokens, strict=True) if one]
    told = _thinned(told, scale.width, lambda one: one[0])
    places, low = [place for place, _ in told], [one.input for _, one in told]
    high = [one.input + one.output for _, one in told]
    axes.vlines(places, 0, low, colors=look.user, linewidth=5, label="input", gid="input")
    axes.vlines(places, low, high, colors=look.good, linewidth=5, label="output", gid="output")
    axes.set_ylim(0, max(1, *high) * 1.1)
    axes.set_ylabel("tokens")
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9)


# -- Axes -----------------------------------------------------------------------------------------


def _rows(axes: Axes, rows: dict[str, int], calls: Sequence[Call]) -> None:
    others = len({call.name for call in calls} - rows.keys())
    names = ["messages", *map(drawable, rows), *([f"{others} other tools"] if others else [])]
    axes.set_yticks(range(len(names)), labels=names)
    axes.set_ylim(len(names) - 0.4, -0.6)


def _times(axes: Axes, scale: _Scale) -> None:
    room = 0.06 * scale.width
    axes.set_xlim(scale.places[0] - room, max(scale.bands[-1][1], scale.places[-1]) + room)
    moments = scale.moments
    if moments is None:
        axes.set_xlabel("messages in their order: their times tell nothing")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return
    begins = _of_bands(scale, 0)
    chosen = ticks([*begins, *_of_bands(scale, -1)], scale.width)
    axes.set_xticks([place for place, _ in chosen], labels=[words for _, words in chosen])
    axes.set_xlabel("time (UTC)" + "; longer pauses between turns are shortened" * scale.shortens)


def _of_bands(scale: _Scale, which: int) -> Iterable[tuple[float, float]]:
    """Give where the messages are that turns begin with, or end with, and their moments."""
    moments, edges = scale.moments or [], [0.0, *(right for _, right in scale.bands)]
    groups: list[list[int]] = [[] for _ in scale.bands]
    turn = 0
    for place, at in enumerate(scale.places):
        while at > edges[turn + 1] and turn + 1 < len(groups):
            turn += 1
        groups[turn].append(place)
    return [(scale.places[group[which]], moments[group[which]]) for group in groups if group]


def _title(
    session: SessionData | SessionInfo, calls: Sequence[Call], tokens: Sequence[Tokens | None]
) -> str:
    shown, count = len(session.messages), max(session.message_count, len(session.messages))
    missing = sum(call.end is None for call in calls)
    told = [one for one in tokens if one]
    parts = [
        f"the last {shown:,} of {count:,} messages"
        if shown < count
        else _counted(count, "message"),
        _counted(len(turns_of(session.messages)), "turn"),
        *([_counted(len(calls), "call") + f", {missing:,} without a result"] if calls else []),
    ]
    if told:
        read, written = (sum(each) for each in zip(*told, strict=True))
        parts.append(f"{read:,} tokens in, {written:,} out")
    return f"Session {drawable(session.id, 60)}\n{'; '.join(parts)}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _nothing(axes: Axes, look: Look) -> None:
    axes.axis("off")
    axes.text(0.5, 0.5, "No messages.", ha="center", color=look.ink, transform=axes.transAxes)


def _thinned(things: Sequence[Any], width: float, place: Callable[[Any], float]) -> list[Any]:
    """Keep of things at one place of the axis the first, where there are too many."""
    if len(things) <= _MARKS:
        return list(things)
    first: dict[int, Any] = {}
    for thing in things:
        first.setdefault(int(place(thing) / width * _MARKS), thing)
    return list(first.values())
