"""Pictures of a session and of an outage: what is drawn, by the artists of the figure."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from itertools import combinations, pairwise
from typing import Any

import msgspec
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionData,
    SessionMessage,
    StoreConnectionError,
    WrapperSessionStore,
)
from sessionstore.forms.usage import Tokens, tokens_of
from sessionstore.plots import outage_timeline, session_timeline
from sessionstore.plots.clock import Clock, duration, merged
from sessionstore.plots.happenings import Mark, Outage, Wait, marks_of, outages_of, waits_of
from sessionstore.plots.looks import LOOKS, drawable
from sessionstore.stats import StoreEvent, StoreStats

BEGIN = datetime(2026, 1, 2, 14, 59, 30, tzinfo=timezone.utc)


def said(role: str, seconds: float = 0, **fields: Any) -> SessionMessage:
    return SessionMessage(role, "private", created_at=BEGIN + timedelta(seconds=seconds), **fields)


def calling(seconds: float, *names: str, **fields: Any) -> SessionMessage:
    calls: Any = [{"name": name, "args": {}, "id": f"{n}"} for n, name in enumerate(names)]
    return said("assistant", seconds, tool_calls=calls, **fields)


def result(seconds: float, n: int) -> SessionMessage:
    return said("tool", seconds, tool_call_id=f"{n}")


def session(*messages: SessionMessage, **fields: Any) -> SessionData:
    return InMemorySessionStore().create("s1", messages=messages, **fields)


def artists(figure: Figure, gid: str) -> list[Any]:
    return figure.findobj(lambda artist: artist.get_gid() == gid)


def bars(figure: Figure, gid: str) -> int:
    return sum(len(drawn.get_paths()) for drawn in artists(figure, gid))


def marks(figure: Figure, gid: str) -> int:
    return sum(len(drawn.get_xdata()) for drawn in artists(figure, gid))


def words(figure: Figure, gid: str) -> list[str]:
    return [text.get_text() for text in artists(figure, gid)]


def all_words(figure: Figure) -> str:
    figure.draw_without_rendering()
    return "\n".join(text.get_text() for text in figure.findobj(Text))  # type: ignore[attr-defined]


def drawn(figure: Figure) -> Figure:
    """Draw it, so that a warning or an error of that is one of the test."""
    assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    return figure


# -- A session ------------------------------------------------------------------------------------


def test_turns_are_bands_and_calls_are_bars_with_their_durations() -> None:
    usage = {"langchain": {"usage_metadata": {"input_tokens": 1200, "output_tokens": 34}}}
    figure = drawn(
        session_timeline(
            session(
                said("system"),
                said("user", 1),
                calling(2, "weather", "weather", "news", extra=usage),
                result(2.5, 1),
                result(6, 0),
                said("assistant", 9),
                said("user", 90_000),
                calling(90_002, "book"),
                said("user", 90_100),
                calling(90_101, "approve"),
                metadata={"title": "private"},
            )
        )
    )
    assert bars(figure, "turns") == 3
    assert words(figure, "turn") == ["turn 1", "turn 2", "turn 3"]
    assert marks(figure, "messages") == 10
    assert (bars(figure, "done"), bars(figure, "open"), bars(figure, "waiting")) == (2, 2, 1)
    assert marks(figure, "interrupted") == 2
    assert sorted(words(figure, "duration")) == ["0.5 s", "4 s"]
    assert [len(artists(figure, kind)) for kind in ("input", "output")] == [1, 1]
    told = all_words(figure)
    for there in (
        *("Session s1", "10 messages; 3 turns; 5 calls, 3 without a result"),
        *("1,200 tokens in, 34 out", "tokens", "weather", "news", "no result", "waits for its"),
        *("time (UTC); longer pauses between turns are shortened", "14:59:30\n2026-01-02"),
    ):
        assert there in told, there
    assert "private" not in told


def test_calls_beside_each_other_do_not_cover_each_other() -> None:
    figure = session_timeline(
        session(said("user"), calling(1, "f", "f", "f"), *(result(5 + n, n) for n in range(3)))
    )
    places = [path.get_extents() for one in artists(figure, "done") for path in one.get_paths()]
    ordered = sorted(places, key=lambda place: place.y0)
    assert len(ordered) == 3
    assert all(below.y1 < above.y0 for below, above in pairwise(ordered))


def test_a_result_that_came_first_and_is_stored_later_keeps_its_time() -> None:
    log = (said("user"), calling(1, "search", "weather"), result(5, 0), result(3, 1))
    figure = drawn(session_timeline(session(*log, said("assistant", 6))))
    assert sorted(words(figure, "duration")) == ["2 s", "4 s"]


def test_an_empty_session_says_so() -> None:
    figure = drawn(session_timeline(session()))
    assert "No messages." in all_words(figure)
    assert "0 messages" in all_words(figure)


def test_one_message_is_drawn_at_its_time() -> None:
    figure = drawn(session_timeline(session(said("user"))))
    assert marks(figure, "messages") == 1
    assert "14:59:30\n2026-01-02" in all_words(figure)


def test_a_session_of_less_than_a_second_has_times_that_differ() -> None:
    turns = [said("user"), said("assistant", 0.2), said("user", 0.45), said("assistant", 0.75)]
    shown = all_words(drawn(session_timeline(session(*turns))))
    assert "14:59:30.000\n2026-01-02" in shown
    assert "14:59:30.450" in shown


@pytest.mark.parametrize("times", [[0, 0, 0, 0], [0, None, 1, 2]])
def test_messages_whose_times_tell_nothing_stand_in_their_order(times: list[float | None]) -> None:
    made = session(said("user"), calling(0, "f"), result(0, 0), said("user"))
    messages = [
        msgspec.structs.replace(
            message, created_at=None if time is None else BEGIN + timedelta(seconds=time)
        )
        for message, time in zip(made.messages, times, strict=True)
    ]
    figure = drawn(session_timeline(msgspec.structs.replace(made, messages=messages)))
    assert "messages in their order" in all_words(figure)
    assert (bars(figure, "done"), bars(figure, "turns"), words(figure, "duration")) == (1, 2, [])


def test_a_clock_that_was_set_back_moves_nothing_back() -> None:
    figure = drawn(session_timeline(session(said("user", 50), calling(60, "f"), result(20, 0))))
    [bar] = artists(figure, "done")
    assert bar.get_paths()[0].get_extents().width > 0
    assert words(figure, "duration") == ["0 s"]


def test_of_a_long_session_as_much_is_drawn_as_can_be_told_apart() -> None:
    messages = []
    usage = {"openai": {"usage": {"prompt_tokens": 7, "completion_tokens": 1}}}
    for n in range(5_000):
        begin = n * 60
        messages += [said("user", begin), calling(begin + 1, f"tool_{n % 40}", extra=usage)]
        messages += [result(begin + 2, 0), said("assistant", begin + 3)]
    figure = drawn(session_timeline(session(*messages)))
    assert bars(figure, "turns") == 12
    assert words(figure, "turn")[:2] == ["1-417", "418-834"]
    assert marks(figure, "messages") <= 3 * 1_001
    assert bars(figure, "done") <= 12 * 1_001
    assert len(artists(figure, "input")[0].get_segments()) <= 1_001
    assert "29 other tools" in all_words(figure)


NAMES = ("$x$", "$\\bad{", "a_b^c$$", "天气", "🌦 weather", "x\n\0y", "\u202eevil", "\ud800", "")


def test_names_of_tools_are_drawn_as_they_are_written() -> None:
    made = session(said("user"), calling(1, *(name for name in NAMES if name != "\ud800")))
    calls: Any = [{"name": "\ud800", "args": {}, "id": "x"}]
    messages = [*made.messages, said("assistant", 2, tool_calls=calls)]
    figure = drawn(session_timeline(msgspec.structs.replace(made, messages=messages, id="$\\bad{")))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:4] == ["messages", "$x$", "$\\bad{", "a_b^c$$"]
    assert labels[6:8] == ["x\\n\\x00y", "\\u202eevil"]


def test_what_no_font_has_is_spelt_out() -> None:
    assert drawable("wétter 天") in ("wétter 天", "wétter \\u5929")
    assert drawable("\U000e0001a") == "\\U000e0001a"
    assert drawable("w" * 100) == "w" * 28 + "..."
    assert len(drawable("\U000e0001" * 100)) < 60


def test_only_a_session_can_be_drawn() -> None:
    with pytest.raises(TypeError, match=r"as store\.get\(id\) gives, not None: there is no such"):
        session_timeline(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="matplotlib Figure, not str"):
        session_timeline(session(), figure="x")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="theme must be"):
        session_timeline(session(), theme="blue")  # type: ignore[arg-type]


def test_a_figure_of_the_callers_is_drawn_into() -> None:
    figure = Figure(layout="constrained")
    assert session_timeline(session(said("user")), figure=figure) is figure
    assert marks(figure, "messages") == 1


@pytest.mark.parametrize(
    ("place", "tokens"),
    [
        ({"langchain": {"usage_metadata": {"input_tokens": 3, "output_tokens": 4}}}, (3, 4)),
        ({"langchain": {"response_metadata": {"token_usage": {"prompt_tokens": 3}}}}, (3, 0)),
        ({"llama_index": {"additional_kwargs": {"completion_tokens": 4}}}, (0, 4)),
        ({"openai": {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}}, (3, 4)),
        ({"a": {"usage": {"input_tokens": "3"}}}, None),
        ({"a": {"usage": {"input_tokens": True}}}, None),
        ({"a": {"usage": None}}, None),
        ({}, None),
    ],
)
def test_tokens_are_found_where_libraries_keep_them(
    place: dict[str, Any], tokens: tuple[int, int] | None
) -> None:
    expected = tokens and Tokens(*tokens)
    assert tokens_of(said("assistant", extra=place)) == expected
    assert tokens_of(said("assistant", metadata=next(iter(place.values()), {}))) == expected


# -- An outage ------------------------------------------------------------------------------------


class Away(InMemorySessionStore):
    error: Exception | None = None

    def run(self, operation: Any) -> Any:
        if self.error:
            raise self.error
        return super().run(operation)


def test_an_outage_is_drawn_while_it_lasts_and_after() -> None:
    primary = Away()
    with WrapperSessionStore(FallbackSessionStore(primary, retry_after=0)) as store:
        assert "nothing has happened" in all_words(drawn(outage_timeline(store)))
        primary.error = StoreConnectionError("away")
        for n in range(3):
            store.append_message(f"s{n}", said("user"))
        during = drawn(outage_timeline(store))
        assert (bars(during, "degraded"), bars(during, "pending")) == (1, 1)
        assert bars(during, "replay") == 0
        assert words(during, "words")[1] == "3 wait now"
        assert "so far, StoreConnectionError" in words(during, "words")[0]
        assert "Primary degraded\n1 outage; 3 pending" in all_words(during)
        primary.error = None
        assert store.recover()
        after = drawn(outage_timeline(store))
    assert (bars(after, "degraded"), bars(after, "pending"), bars(after, "replay")) == (1, 1, 1)
    assert bars(after, "healthy") == 2
    assert words(after, "words")[1:] == ["3 waited", "3 replayed"]
    assert "so far" not in words(after, "words")[0]


def event(seconds: float, kind: Any, count: int = 1) -> StoreEvent:
    return StoreEvent(BEGIN + timedelta(seconds=seconds), kind, "SomeError", count)


class Told:
    """What has the stats of a fallback."""

    def __init__(self, *events: StoreEvent, **fields: Any) -> None:
        self._stats = StoreStats(events=events, **fields)

    def stats(self) -> StoreStats:
        return self._stats


def test_slow_sessions_and_rejected_writes_are_marked_with_their_numbers() -> None:
    events = (event(0, "slow_session", 3), event(1, "replayed", 2), event(9, "rejected", 4))
    figure = drawn(outage_timeline(Told(*events, rejected=4, pending=1)))
    assert [marks(figure, kind) for kind in ("slow_session", "replayed", "rejected")] == [1, 1, 1]
    assert {"2", "3", "4", "1 waits now"} <= set(words(figure, "words"))
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["primary", "pending", "replay", "slow sessions", "set aside"]


def test_a_hundred_events_are_drawn_with_words_that_do_not_meet() -> None:
    events = [event(n * 60, ("degraded", "recovered")[n % 2]) for n in range(100)]
    figure = drawn(outage_timeline(Told(*events)))
    assert bars(figure, "degraded") == 50
    figure.draw_without_rendering()
    places = [text.get_window_extent() for text in artists(figure, "words")]
    assert 2 <= len(places) < 20
    assert not any(one.overlaps(other) for one, other in combinations(places, 2))


def test_outages_are_read_from_events() -> None:
    at = BEGIN.timestamp()
    stats = StoreStats(
        events=(
            event(0, "recovered"),  # what began it is forgotten
            event(1, "replayed", 5),
            event(10, "degraded"),
            event(5, "recovered"),  # the clock was set back
            event(12, "rejected", 2),
            event(13, "replayed", 3),
            event(20, "degraded"),
        )
    )
    assert outages_of(stats) == [
        Outage(at, at, at + 1, 5),
        Outage(at + 10, at + 10, at + 13, 3, 2, "SomeError"),
        Outage(at + 20, error="SomeError"),
    ]
    assert marks_of(stats) == [Mark("rejected", at + 12, 2)]
    forgotten = StoreStats(degraded_since=BEGIN, events=(event(1, "slow_session"),))
    assert outages_of(forgotten) == [Outage(at)]


def test_what_waits_is_of_its_outage_or_of_now() -> None:
    over, away = Outage(1, 2, 3, replayed=4, rejected=1), Outage(5)
    assert waits_of(StoreStats(), [over, away], 9) == [Wait(1, 3, 5, is_now=False)]
    now = Wait(9, 9, 7, is_now=True)
    assert waits_of(StoreStats(pending=7), [], 9) == [now]
    assert waits_of(StoreStats(pending=7), [over], 9) == [Wait(1, 3, 5, is_now=False), now]
    since = Wait(5, 9, 7, is_now=True)
    assert waits_of(StoreStats(pending=7), [over, away], 9)[1:] == [since]


def test_what_has_no_stats_is_refused() -> None:
    for nothing in (None, object(), "x"):
        with pytest.raises(TypeError, match=f"not {type(nothing).__name__}"):
            outage_timeline(nothing)


# -- Time, light and dark -------------------------------------------------------------------------


def test_long_pauses_are_short_and_order_is_kept() -> None:
    clock = Clock([(0, 10), (11, 11), (100_000, 100_020)])
    places = [clock.at(moment) for moment in (0, 5, 10, 11, 50_000, 100_000, 100_010, 100_020)]
    assert places == sorted(places)
    assert clock.shortens
    assert clock.at(10) - clock.at(0) == pytest.approx(10)
    assert clock.at(100_000) - clock.at(11) < 5
    assert clock.at(1e12) == clock.bands[-1][1]
    assert not Clock([(0, 10), (10.5, 20)]).shortens
    assert merged([(5, 6), (0, 2), (1, 3)]) == [(0, 3), (5, 6)]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        *[(0, "0 s"), (0.0042, "4.2 ms"), (0.42, "0.42 s"), (9.96, "10 s"), (59.6, "1 min")],
        *[(185, "3 min 5 s"), (7800, "2 h 10 min"), (90_000, "1 d 1 h")],
    ],
)
def test_durations_are_written_in_one_or_two_units(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def luminance(color: str) -> float:
    parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
    return sum(part * by for part, by in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("theme", LOOKS)
def test_each_color_can_be_seen_on_each_ground_that_it_may_stand_on(theme: str) -> None:
    look = LOOKS[theme]
    grounds = ["#ffffff", "#111111"] if look.ground == "none" else [look.ground]
    for color in (look.ink, look.user, look.good, look.tool, look.bad):
        for ground in grounds:
            low, high = sorted((luminance(color), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 3, (color, ground)
    figure = session_timeline(session(said("user")), theme=theme)  # type: ignore[arg-type]
    assert figure.axes[0].title.get_color() == look.ink


def test_no_pyplot_and_no_window_is_touched() -> None:
    program = """
import sys
from sessionstore import FallbackSessionStore, InMemorySessionStore
assert "matplotlib" not in sys.modules
from sessionstore.plots import outage_timeline, session_timeline
store = InMemorySessionStore()
store.create("s1", messages=[{"role": "user", "content": "x"}])
session_timeline(store.get("s1"))._repr_png_()
outage_timeline(FallbackSessionStore(store))._repr_png_()
print("matplotlib.pyplot" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout == "False\n"


def test_without_matplotlib_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['matplotlib'] = None; import sessionstore.plots"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "pictures need the plots extra: pip install 'sessionstore[plots]'" in ran.stderr
