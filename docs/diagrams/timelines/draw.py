"""Draw the time lines that the documentation shows, as SVG files beside this one.

The outage is a real one: a Redis is killed in a conversation, and started again. The times of the
session are those of an agent with tools, written down here. As the diagrams do, each picture stands
on a ground of its own, light or dark as its reader prefers. From the root of the repository:

    PYTHONPATH=tests .venv/python3/bin/python docs/diagrams/timelines/draw.py
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta, timezone
from io import StringIO
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from servers import redis as redis_servers

from sessionstore import FallbackSessionStore, InMemorySessionStore, RedisSessionStore
from sessionstore.plots import outage_timeline, session_timeline
from sessionstore.plots.looks import LOOKS

HERE = Path(__file__).parent
BEGIN = datetime(2026, 3, 2, 9, 14, 5, tzinfo=timezone.utc)


def session() -> Figure:
    """Draw an agent's session: two tools at once, a tool that never answered, an open call."""
    store = InMemorySessionStore()
    said: list[dict[str, Any]] = [
        at(0, "user"),
        at(1.6, "assistant", 812, 46, calls=("search_flights", "search_hotels")),
        at(3.3, "tool", result="search_flights"),
        at(4.9, "tool", result="search_hotels"),
        at(8.2, "assistant", 1_640, 212),
        at(2_714, "user"),
        at(2_715.5, "assistant", 1_910, 31, calls=("book_flight",)),
        at(2_790, "user"),
        at(2_791.2, "assistant", 2_004, 38, calls=("flight_status",)),
        at(2_791.9, "tool", result="flight_status"),
        at(2_794.6, "assistant", 2_120, 74),
        at(93_200, "user"),
        at(93_202, "assistant", 2_260, 29, calls=("send_receipt",)),
    ]
    return session_timeline(store.create("trip-to-porto", messages=said), theme="light")


def at(
    seconds: float,
    role: str,
    read: int = 0,
    written: int = 0,
    *,
    calls: tuple[str, ...] = (),
    result: str | None = None,
) -> dict[str, Any]:
    """Give a message of so many seconds after the first."""
    usage = {"input_tokens": read, "output_tokens": written}
    return {
        "role": role,
        "created_at": BEGIN + timedelta(seconds=seconds),
        "tool_calls": [{"name": name, "args": {}, "id": name} for name in calls],
        "tool_call_id": result,
        "extra": {"langchain": {"usage_metadata": usage}} if read else {},
    }


def outage() -> Figure:
    """Draw a fallback whose Redis was killed twice, and is away the second time."""
    logging.getLogger("sessionstore").setLevel(logging.ERROR)
    options: Any = {"appendonly": "yes", "appendfsync": "always"}
    with redis_servers.single(**options) as server:
        store = FallbackSessionStore(RedisSessionStore(server.url), retry_after=0.1)
        talk(store, 1)
        server.kill()
        talk(store, 3)
        server.start()
        while not store.recover():
            time.sleep(0.05)
        talk(store, 1)
        server.kill()
        talk(store, 1.5)
        drawn = outage_timeline(store, theme="light")
        server.start()
        while not store.recover():
            time.sleep(0.05)
        store.close()
    return drawn


def talk(store: FallbackSessionStore, seconds: float) -> None:
    """Write a message each tenth of a second."""
    for number in range(round(seconds * 10)):
        store.append_message(f"s{number % 5}", {"role": "user", "content": "Hello!"})
        time.sleep(0.1)


def adapting(figure: Figure, title: str) -> str:
    """Give a figure in the light theme as an SVG whose colours are those that a reader prefers."""
    file = StringIO()
    with rc_context({"svg.hashsalt": "sessionstore"}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": title})
    drawn = file.getvalue()
    names = ("ground", "ink", "user", "good", "tool", "bad")
    for name in names:
        drawn = drawn.replace(getattr(LOOKS["light"], name), f"var(--{name})")
    rules = [
        "; ".join(f"--{name}: {getattr(LOOKS[theme], name)}" for name in names)
        for theme in ("light", "dark")
    ]
    style = f"svg {{ {rules[0]} }}\n@media (prefers-color-scheme: dark) {{ svg {{ {rules[1]} }} }}"
    head, _, rest = drawn.partition("<defs>")
    lines = f"{head}<style>{style}</style>\n<defs>{rest}".splitlines()
    return "\n".join(line.rstrip() for line in lines) + "\n"


if __name__ == "__main__":
    for name, figure, title in (
        ("session.svg", session(), "A session: turns, calls of tools, tokens"),
        ("outage.svg", outage(), "Two outages of Redis: what waited, and the replay"),
    ):
        (HERE / name).write_text(adapting(figure, title), encoding="utf-8")
