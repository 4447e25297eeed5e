"""Record what `draw.py` draws of an outage, from real servers, into outage.json.

One chat goes on at two turns a second while its Redis is killed and started again. Redis flushes
each write to its append-only file, so that it has all that it acknowledged when it is back. Once
the turns are kept by langchain-community's `RedisChatMessageHistory`, and once by
`SessionChatMessageHistory` on a store from `open_store`. After each turn the agent's memory is
asked how many messages it knows; one that raises knows none.

`make bench` has the packages; from the root of the repository:

    PYTHONPATH=adapters:integrations:tests .venv/python3-bench/bin/python docs/diagrams/outage.py
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from servers import redis as redis_servers

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore import open_store

TURNS, PAUSE = 24, 0.5
KILLED_AT, BACK_AT = 8, 16


def theirs(url: str) -> Any:
    """Keep the chat as langchain-community does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.chat_message_histories import (  # noqa: PLC0415 - it warns
            RedisChatMessageHistory,
        )

        return RedisChatMessageHistory("chat", url=url)


def ours(url: str) -> Any:
    """Keep the chat as this package does."""
    return SessionChatMessageHistory("chat", open_store(url))


def record(keep: Callable[[str], Any]) -> dict[str, Any]:
    """Have the chat, and note what its memory knows after each turn, and what Redis has at last."""
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        history = keep(server.url)
        known, failed = [], 0
        started = time.monotonic()
        for turn in range(TURNS):
            if turn == KILLED_AT:
                server.kill()
            if turn == BACK_AT:
                server.start()
            messages = [HumanMessage(f"Question {turn}"), AIMessage(f"Answer {turn}")]
            failed += not _worked(lambda m=messages: history.add_messages(m))  # type: ignore[misc]
            known.append(len(_given(lambda: history.messages)))
            time.sleep(max(0.0, started + (turn + 1) * PAUSE - time.monotonic()))
        return {
            "known": known,
            "turns_that_raised": failed,
            "in_redis": len(keep(server.url).messages),
        }


def _worked(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:  # noqa: BLE001 - whatever it is, the turn was not kept
        return False
    return True


def _given(call: Callable[[], list[BaseMessage]]) -> list[BaseMessage]:
    try:
        return call()
    except Exception:  # noqa: BLE001 - whatever it is, the agent knows nothing
        return []


if __name__ == "__main__":
    told = {
        "turns": TURNS,
        "pause": PAUSE,
        "killed_at": KILLED_AT,
        "back_at": BACK_AT,
        "theirs": record(theirs),
        "ours": record(ours),
    }
    text = json.dumps(told, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")
    print(text)
