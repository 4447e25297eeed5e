"""A fallback that is closed takes nothing in; one that nobody closed says what ends with it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Children
from faults import FaultyStore

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SessionStore,
    SessionStoreError,
)

HELLO = SessionMessage("user", "Hello!", id="m")
STATES = ["healthy", "degraded", "degraded while writes wait", "back", "never used"]
CALLS: dict[str, Callable[[SessionStore, str], object]] = {
    "create": lambda store, a: getattr(store, a + "create")("new"),
    "get": lambda store, a: getattr(store, a + "get")("s"),
    "get_messages": lambda store, a: getattr(store, a + "get_messages")("s", limit=1),
    "append_message": lambda store, a: getattr(store, a + "append_message")("s", HELLO),
    "append_messages": lambda store, a: getattr(store, a + "append_messages")("new", [HELLO]),
    "replace_message": lambda store, a: getattr(store, a + "replace_message")("s", HELLO),
    "rewind": lambda store, a: getattr(store, a + "rewind")("s", to="m"),
    "delete_messages": lambda store, a: getattr(store, a + "delete_messages")("s", ["m"]),
    "update": lambda store, a: getattr(store, a + "update")("s", metadata={"title": "t"}),
    "delete": lambda store, a: getattr(store, a + "delete")("s"),
    "list_sessions": lambda store, a: getattr(store, a + "list_sessions")(),
    "prune_expired": lambda store, a: getattr(store, a + "prune_expired")(),
    "ping": lambda store, a: getattr(store, a + "ping")(),
    "recover": lambda store, a: getattr(store, a + "recover")(),
}


def in_state(state: str, fallback: str) -> tuple[FaultyStore, FallbackSessionStore]:
    primary = FaultyStore(InMemorySessionStore())
    store = FallbackSessionStore(primary, fallback=fallback, retry_after=0)
    if state != "never used":
        store.append_message("s", HELLO)
    if state.startswith("degraded"):
        primary.go_down()
        store.get("s")
        assert store.is_degraded()
    if state.endswith("wait") or state == "back":
        primary.go_down()
        store.append_message("s", SessionMessage("user", "and more"))
    if state == "back":
        primary.come_back()
    return primary, store


@pytest.mark.parametrize("close", ["close", "aclose"])
@pytest.mark.parametrize("fallback", ["in-memory", "sqlite"])
@pytest.mark.parametrize("state", STATES)
def test_a_closed_fallback_refuses_every_call(
    state: str, fallback: str, close: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}" if fallback == "sqlite" else fallback
    primary, store = in_state(state, url)
    if close == "close":
        store.close()
    else:
        asyncio.run(store.aclose())
    primary.come_back()
    held, waiting = primary.inner.get("s"), store.pending()
    assert len(waiting) == state.endswith("wait")
    for name, call in CALLS.items():
        with pytest.raises(SessionStoreError, match=r"^this store is closed$") as caught:
            call(store, "")
        assert caught.type is SessionStoreError, name
        with pytest.raises(SessionStoreError, match=r"^this store is closed$"):
            asyncio.run(call(store, "a"))
    store.close()
    assert primary.inner.get("s") == held
    assert primary.inner.get("new") is None
    assert store.pending() == waiting


def test_a_write_under_way_when_the_store_is_closed_is_not_acknowledged() -> None:
    """Its caller would be told that it is kept, by a journal that nobody owns."""
    primary, store = in_state("healthy", "in-memory")
    primary.go_down()
    primary.meanwhile = store.close
    with pytest.raises(SessionStoreError, match="this store is closed"):
        store.append_message("s", SessionMessage("user", "too late"))
    assert store.pending() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a fork")
def test_a_closed_store_is_closed_in_a_child_too() -> None:
    _, store = in_state("degraded", "in-memory")
    store.close()
    store._start_anew()  # what a fork does in the child
    with pytest.raises(SessionStoreError, match="this store is closed"):
        store.append_message("s", HELLO)


UNCLOSED = """
    import gc, logging, os, sys
    from faults import FaultyStore
    from sessionstore import FallbackSessionStore, InMemorySessionStore, SessionMessage

    logging.basicConfig(level="ERROR", stream=sys.stdout, format="%(levelname)s %(message)s")
    primary = FaultyStore(InMemorySessionStore())
    store = FallbackSessionStore(primary, fallback=sys.argv[1])
    primary.go_down()
    for _ in range(3):
        store.append_message("s", SessionMessage("user", "a secret"))
    if sys.argv[2] == "fork" and os.fork() == 0:
        sys.exit()  # what waits is the parent's
    if sys.argv[2] == "fork":
        os.wait()
    if sys.argv[2] == "replayed":
        primary.come_back()
        assert store.recover()
    if sys.argv[2] == "close":
        store.close()
    if sys.argv[2] == "drop":
        del store
        gc.collect()
        print("dropped")
"""
LOST = "ERROR 3 writes that the store lacks end here: the fallback was not closed\n"


@pytest.mark.parametrize(
    ("fallback", "end", "said"),
    [
        ("in-memory", "exit", LOST),
        ("in-memory", "fork", LOST),
        ("in-memory", "drop", LOST + "dropped\n"),
        ("in-memory", "replayed", ""),
        ("in-memory", "close", "ERROR closed with 3 writes that the store lacks: see pending()\n"),
        ("sqlite:///journal.db", "exit", ""),
    ],
)
def test_a_process_that_ends_logs_what_is_lost(
    fallback: str, end: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Children() as children:
        assert children.run(UNCLOSED, fallback, end) == said
