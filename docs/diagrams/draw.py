"""Draw the diagrams of the documentation, as SVG files beside this one: `make diagrams`.

Each stands on a ground of its own, light or dark as its reader prefers, so that it is readable on
any page. `outage.py` measures what the picture of the outage shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent

STYLE = """
  svg { --ground: #ffffff; --edge: #d0d7de; --ink: #1f2328; --quiet: #59636e; --box: #f6f8fa;
        --ours: #0550ae; --theirs: #bc4c00; --away: #ffebe9; }
  @media (prefers-color-scheme: dark) {
    svg { --ground: #15181d; --edge: #3d444d; --ink: #e6edf3; --quiet: #9aa4af; --box: #22272e;
          --ours: #6cb6ff; --theirs: #f0883e; --away: #3c2526; }
  }
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
         font-size: 14px; fill: var(--ink); }
  .quiet { fill: var(--quiet); font-size: 13px; }
  .title { font-size: 16px; font-weight: 600; }
  .name { font-weight: 600; }
  .code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px; }
  .ground { fill: var(--ground); stroke: var(--edge); }
  .box { fill: var(--box); stroke: var(--edge); }
  .away { fill: var(--away); }
  .axis { stroke: var(--edge); fill: none; }
  .arrow { stroke: var(--quiet); stroke-width: 1.5; fill: none; marker-end: url(#head); }
  .head { fill: var(--quiet); }
  .ours { stroke: var(--ours); stroke-width: 3; fill: none; }
  .theirs { stroke: var(--theirs); stroke-width: 3; fill: none; stroke-dasharray: 7 4; }
  .says-ours { fill: var(--ours); font-weight: 600; }
  .says-theirs { fill: var(--theirs); font-weight: 600; }
"""
HEAD = (
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
    ' markerHeight="7" orient="auto-start-reverse"><path class="head" d="M0 0 10 5 0 10z"/>'
    "</marker></defs>"
)


def picture(width: int, height: int, title: str, words: str, parts: Iterable[str]) -> str:
    """Put a picture together: its title and words are for those who do not see it."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    told = 'role="img" aria-labelledby="title words"'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} {told}>',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="words">{escape(words)}</desc>',
        f"<style>{STYLE}</style>",
        HEAD,
        rect("ground", 0.5, 0.5, width - 1, height - 1, radius=8),
        *parts,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def rect(style: str, x: float, y: float, width: float, height: float, *, radius: int = 0) -> str:
    """Draw a rectangle."""
    corners = f' rx="{radius}"' if radius else ""
    size = f'width="{width:g}" height="{height:g}"'
    return f'<rect class="{style}" x="{x:g}" y="{y:g}" {size}{corners}/>'


def text(x: float, y: float, words: str, style: str = "", anchor: str = "start") -> str:
    """Write one line."""
    of = f' class="{style}"' if style else ""
    to = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return f'<text x="{x:g}" y="{y:g}"{of}{to}>{escape(words)}</text>'


def path(style: str, points: Sequence[tuple[float, float]]) -> str:
    """Draw a line through points."""
    steps = " ".join(f"{x:g} {y:g}" for x, y in points)
    return f'<path class="{style}" d="M{steps}"/>'


class Box(NamedTuple):
    """A box with a name and a few lines."""

    x: float
    y: float
    width: float
    height: float
    name: str
    lines: tuple[str, ...] = ()
    style: str = "name"

    def drawn(self) -> list[str]:
        """Draw it."""
        middle = self.x + self.width / 2
        top = self.y + self.height / 2 + 5 - 9 * len(self.lines)
        return [
            rect("box", self.x, self.y, self.width, self.height, radius=6),
            text(middle, top, self.name, self.style, "middle"),
            *(
                text(middle, top + 18 * (n + 1), line, "quiet", "middle")
                for n, line in enumerate(self.lines)
            ),
        ]

    @property
    def top(self) -> tuple[float, float]:
        """The middle of its upper edge."""
        return self.x + self.width / 2, self.y

    @property
    def bottom(self) -> tuple[float, float]:
        """The middle of its lower edge."""
        return self.x + self.width / 2, self.y + self.height


# -- An outage ------------------------------------------------------------------------------------


def outage() -> str:
    """Show what an agent knows while its Redis is away, and after."""
    told = json.loads((HERE / "outage.json").read_text(encoding="utf-8"))
    left, right, top, bottom = 64.0, 736.0, 84.0, 300.0
    turns, most = told["turns"], 2 * told["turns"]

    def at(turn: float, messages: float) -> tuple[float, float]:
        across = left + (right - left) * turn / turns
        return round(across, 1), round(bottom - (bottom - top) * messages / most, 1)

    def line(known: Sequence[int]) -> list[tuple[float, float]]:
        return [at(0, 0), *(at(turn + 1, count) for turn, count in enumerate(known))]

    killed, back = at(told["killed_at"], 0)[0], at(told["back_at"], 0)[0]
    ours, theirs = told["ours"], told["theirs"]
    lost = ours["in_redis"] - theirs["in_redis"]
    parts = [
        text(24, 34, "One chat, while its Redis is killed and started again", "title"),
        text(24, 56, "Messages that the agent knows, after each turn", "quiet"),
        rect("away", killed, top - 12, back - killed, bottom - top + 12),
        text((killed + back) / 2, top + 6, "Redis is down", "quiet", "middle"),
        *_axes(told, at),
        path("theirs", line(theirs["known"])),
        path("ours", line(ours["known"])),
        *_legend(362, "sessionstore", "says-ours", ours, turns),
        *_legend(386, "LangChain's RedisChatMessageHistory", "says-theirs", theirs, turns),
    ]
    words = (
        f"In {turns} turns {most} messages are said. With sessionstore the agent knows all of them"
        f" all the time, and Redis has all of them at the end. With RedisChatMessageHistory it"
        f" knows nothing while Redis is down, and {lost} messages are lost for good."
    )
    return picture(760, 408, "An outage of Redis", words, parts)


def _legend(y: float, name: str, style: str, told: dict[str, Any], turns: int) -> Iterable[str]:
    failed = f"{told['turns_that_raised']} of {turns} turns failed"
    yield text(24, y, name, style)
    yield text(400, y, f"{told['in_redis']} of {2 * turns} messages kept, {failed}")


def _axes(told: dict[str, Any], at: Any) -> Iterable[str]:
    turns, most = told["turns"], 2 * told["turns"]
    yield path("axis", [at(0, most), at(0, 0), at(turns, 0)])
    for count in range(0, most + 1, 12):
        x, y = at(0, count)
        yield text(x - 8, y + 4, str(count), "quiet", "end")
    for turn in range(0, turns + 1, 4):
        x, y = at(turn, 0)
        yield text(x, y + 20, f"{turn * told['pause']:g} s", "quiet", "middle")


# -- The states of the fallback -------------------------------------------------------------------


def states() -> str:
    """Show the states of a fallback: of the whole store, and of one session."""
    store = (
        Box(
            40,
            84,
            300,
            84,
            "healthy",
            ("the primary answers every call;", "what it says is remembered"),
        ),
        Box(
            40,
            240,
            300,
            102,
            "degraded",
            (
                "reads: what is remembered",
                "writes: one append to the journal",
                "one caller at a time pings the primary",
            ),
        ),
        Box(
            40,
            414,
            300,
            102,
            "replaying",
            (
                "a session's writes go to the primary",
                "before anything else of it;",
                "the rest, a few with each call",
            ),
        ),
    )
    session = (
        Box(500, 84, 300, 84, "answered", ("as the store is",)),
        Box(
            500,
            240,
            300,
            102,
            "left alone",
            (
                "reads: what is remembered",
                "writes: one append to the journal",
                "other sessions notice nothing",
            ),
        ),
        Box(
            500,
            414,
            300,
            102,
            "replaying",
            ("its writes go to the primary first,", "then the call that tries it"),
        ),
    )
    parts = [
        text(40, 36, "The whole store", "title"),
        text(40, 60, "is_degraded() is true in the second state only", "quiet"),
        text(500, 36, "Each session, by itself", "title"),
        text(500, 60, "counted by stats().slow_sessions", "quiet"),
        *_column(
            store,
            (
                ("StoreConnectionError, or two", "sessions time out in a row"),
                ("a ping is answered", "(or a write, if it was read-only)"),
            ),
            "no write waits",
            "it is away again",
        ),
        *_column(
            session,
            (
                ("StoreTimeoutError", "of this session"),
                ("the pause is over", "(it doubles with each try)"),
            ),
            "no write of it waits",
            "too slow again",
        ),
    ]
    words = (
        "A store is healthy until a StoreConnectionError, or until the calls of two sessions time"
        " out one after the other. Then it is degraded: reads give what is remembered, and writes"
        " are journaled. When a ping is answered it replays what waits, and is healthy again. A"
        " single session whose call times out goes through the same states by itself."
    )
    return picture(880, 546, "The states of the fallback", words, parts)


def _column(
    boxes: Sequence[Box], down: Sequence[tuple[str, str]], home: str, again: str
) -> Iterable[str]:
    """Draw states from top to bottom, with the ways down between them and those back at the right.

    Args:
        boxes: The states.
        down: What leads from each to the next.
        home: What leads from the last to the first.
        again: What leads from the last to the one before.
    """
    for box in boxes:
        yield from box.drawn()
    for upper, lower, lines in zip(boxes[:-1], boxes[1:], down, strict=True):
        x = upper.bottom[0] - 96
        yield path("arrow", [(x, upper.bottom[1]), (x, lower.top[1])])
        for n, line in enumerate(lines):
            yield text(x + 12, upper.bottom[1] + 32 + 18 * n, line, "quiet")
    first, middle, last = boxes
    yield from _back(last, last.y + 72, first, 58, home)
    yield from _back(last, last.y + 30, middle, 24, again)


def _back(lower: Box, start: float, upper: Box, reach: float, words: str) -> Iterable[str]:
    edge, end = lower.x + lower.width, upper.y + upper.height / 2
    yield path("arrow", [(edge, start), (edge + reach, start), (edge + reach, end), (edge, end)])
    yield (
        f'<g transform="translate({edge + reach + 6:g} {(start + end) / 2:g}) rotate(90)">'
        f"{text(0, 0, words, 'quiet', 'middle')}</g>"
    )


# -- The house ------------------------------------------------------------------------------------


def house() -> str:
    """Show the packages, and which of them imports which."""
    frameworks = {
        "langchain_…": ("chains, agents,", "histories"),
        "langgraph_…": ("checkpointers", ""),
        "llama_index_…": ("Memory, chat", "engines, agents"),
        "openai_agents_…": ("sessions of", "its runner"),
    }
    integrations = [
        Box(24 + 181 * n, 76, 169, 82, name, lines, "code")
        for n, (name, lines) in enumerate(frameworks.items())
    ]
    contract = Box(
        24,
        212,
        712,
        96,
        "sessionstore",
        (
            "the contract: SessionStore, operations, models",
            "Window, open_store, WrapperSessionStore",
        ),
        "code",
    )
    names = {
        "memory": ("no driver", ""),
        "sqlite": ("sqlite3", ""),
        "redis": ("redis-py", ""),
        "sql": ("SQLAlchemy,", "psycopg"),
        "fallback": ("around", "any store"),
        "testing": ("pytest,", "hypothesis"),
    }
    backends = [
        Box(24 + 120 * n, 370, 112, 82, name, lines, "code")
        for n, (name, lines) in enumerate(names.items())
    ]
    parts = [
        text(24, 34, "The packages", "title"),
        text(
            24,
            56,
            "Integrations end in _sessionstore. An arrow leads to what is imported.",
            "quiet",
        ),
        *(line for box in (*integrations, contract, *backends) for line in box.drawn()),
        *(path("arrow", [box.bottom, (box.bottom[0], contract.y)]) for box in integrations),
        *(path("arrow", [box.top, (box.top[0], contract.y + contract.height)]) for box in backends),
    ]
    words = (
        "The integrations langchain_sessionstore, langgraph_sessionstore, llama_index_sessionstore"
        " and openai_agents_sessionstore import the contract in sessionstore, and so do the"
        " backends memory, sqlite, redis, sql, fallback and testing. No backend imports another."
    )
    return picture(760, 476, "The packages", words, parts)


PICTURES = {"outage.svg": outage, "fallback_states.svg": states, "house.svg": house}


def main() -> None:
    """Write all pictures."""
    for name, draw in PICTURES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
