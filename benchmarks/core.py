"""What the core costs, each figure beside what it is to be compared with: ``make bench``.

Ratios of medians, measured in turns within one run, so that what else the machine does is in both.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)

from langchain_sessionstore import to_langchain, to_session
from sessionstore import (
    InMemorySessionStore,
    SessionMessage,
    SessionStore,
    SQLiteSessionStore,
)
from sessionstore.models import decode_message, encode_message

TEXT = "x" * 300


def medians(uses: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Time each use in turn, and give the median of each in microseconds."""
    times: list[list[float]] = [[] for _ in uses]
    for _ in range(rounds):
        for use, taken in zip(uses, times, strict=True):
            start = time.perf_counter()
            use()
            taken.append((time.perf_counter() - start) * 1e6)
    return [statistics.median(taken) for taken in times]


def row(name: str, ours: float, other: str, theirs: float) -> None:
    """Print one figure, and its ratio to another."""
    print(f"{name:<44} {ours:>10.1f} µs   {ours / theirs:>6.2f} x {other}")


def codec() -> None:
    """Decoding a stored message, beside LangChain's own way."""
    messages: list[BaseMessage] = [
        HumanMessage(TEXT, id="1"),
        AIMessage(TEXT, id="2", response_metadata={"model_name": "m"}),
    ]
    for message in messages:
        ours = encode_message(to_session(message))
        theirs = json.dumps(message_to_dict(message))
        assert to_langchain(decode_message(ours)) == message
        mine, naive = medians(
            [
                lambda ours=ours: to_langchain(decode_message(ours)),
                lambda theirs=theirs: messages_from_dict([json.loads(theirs)]),
            ],
            5000,
        )
        row(f"decode one {type(message).__name__}", mine, "json.loads + messages_from_dict", naive)


def starting() -> None:
    """Importing the core, beside starting Python."""

    def run(code: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, "-c", code], check=True)

    ours, bare = medians([run("import sessionstore"), run("pass")], 15)
    row("start Python and import sessionstore", ours, "starting Python", bare)
    print(f"{'  so the import alone takes':<44} {ours - bare:>10.1f} µs")


def turns(store: SessionStore) -> None:
    """A turn at the end of a long session, beside one at the end of a short one."""
    store.append_messages("short", [SessionMessage("user", TEXT) for _ in range(10)])
    store.append_messages("long", [SessionMessage("user", TEXT) for _ in range(100_000)])

    def turn(session_id: str) -> Callable[[], object]:
        def use() -> None:
            assert len(store.get_messages(session_id, limit=10)) == 10
            new = [SessionMessage("user", TEXT), SessionMessage("assistant", TEXT)]
            assert store.append_messages(session_id, new) == 2

        return use

    long, short = medians([turn("long"), turn("short")], 500)
    row(f"{type(store).__name__}: turn at 100,000", long, "the turn at 10", short)


def main() -> None:
    """Measure all."""
    codec()
    starting()
    turns(InMemorySessionStore())
    with tempfile.TemporaryDirectory() as folder:
        with SQLiteSessionStore(Path(folder) / "full.db") as store:
            turns(store)
        with SQLiteSessionStore(Path(folder) / "normal.db", synchronous="NORMAL") as store:
            turns(store)


if __name__ == "__main__":
    main()
