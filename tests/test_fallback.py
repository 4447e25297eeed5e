"""The fallback, with faults placed exactly: see faults.py."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore

from sessionstore import (
    InMemorySessionStore,
    SessionAccessError,
    SessionMessage,
    StoreUnavailableError,
)
from sessionstore.fallback.store import FallbackSessionStore
from sessionstore.testing.modes import Stores

# -- What a caller sees of an outage -----------------------------------------------------------


class Pair:
    """A primary that fails on command, and the fallback over it."""

    def __init__(self, **options: Any) -> None:
        self.primary = FaultyStore(InMemorySessionStore())
        self.callbacks: list[str] = []
        self.store = FallbackSessionStore(
            self.primary,
            retry_after=0,
            on_fallback=lambda error: self.callbacks.append(type(error).__name__),
            on_recover=lambda: self.callbacks.append("back"),
            **options,
        )

    def said(self, session_id: str = "s") -> list[str]:
        return [str(message.content) for message in self.store.get_messages(session_id)]

    def kept(self, session_id: str = "s") -> list[str]:
        return [str(m.content) for m in self.primary.inner.get_messages(session_id)]


def turn(text: str) -> list[SessionMessage]:
    return [SessionMessage("user", text), SessionMessage("assistant", f"to {text}")]


def test_the_conversation_goes_on_and_is_replayed() -> None:
    pair = Pair()
    pair.store.append_messages("s", turn("a"), user_id="alice")
    pair.primary.go_down()
    assert pair.store.append_messages("s", turn("b"), user_id="alice") == 2
    assert pair.said() == ["a", "to a", "b", "to b"]
    assert pair.store.is_degraded()
    assert pair.kept() == ["a", "to a"]
    pair.primary.come_back()
    assert pair.store.append_messages("s", turn("c"), user_id="alice") == 2
    assert pair.kept() == pair.said() == ["a", "to a", "b", "to b", "c", "to c"]
    assert not pair.store.is_degraded()
    assert pair.callbacks == ["StoreUnavailableError", "back"]
    stats = pair.store.stats()
    assert (stats.fallbacks, stats.recoveries, stats.journaled, stats.replayed) == (1, 1, 1, 1)
    assert stats.pending == 0


def test_what_keeps_a_session_from_its_primary_is_told_without_asking() -> None:
    pair = Pair()
    pair.store.append_messages("s", turn("a"))
    assert pair.store.is_clear("s")
    assert not pair.store.has_pending()
    pair.primary.go_down()
    pair.store.append_messages("s", turn("b"))
    requests = pair.primary.requests
    assert not pair.store.is_clear("s")
    assert not pair.store.is_clear("another")
    assert pair.store.has_pending()
    assert pair.store.has_pending("s")
    assert not pair.store.has_pending("another")
    assert pair.primary.requests == requests
    pair.primary.come_back()
    assert pair.store.recover()
    assert pair.store.is_clear("s")
    assert not pair.store.has_pending()
    assert not pair.store.has_pending("s")


def test_a_lost_answer_adds_nothing_twice() -> None:
    pair = Pair()
    pair.primary.lose_answers()
    pair.store.append_messages("s", turn("a"))
    pair.primary.come_back()
    assert pair.said() == pair.kept() == ["a", "to a"]


def test_another_user_is_kept_out_in_an_outage_too() -> None:
    pair = Pair()
    pair.store.create("s", user_id="alice")
    pair.store.append_messages("t", turn("x"))  # whose session it is was not known
    pair.primary.go_down()
    with pytest.raises(SessionAccessError):
        pair.store.get("s", user_id="mallory")
    with pytest.raises(StoreUnavailableError):
        pair.store.get("t", user_id="mallory")


def test_promises_that_can_not_be_kept_in_an_outage_are_refused() -> None:
    pair = Pair(max_pending=2)
    pair.store.append_messages("s", turn("a"))
    pair.primary.go_down()
    refused: list[Callable[[], object]] = [
        lambda: pair.store.append_messages("s", turn("b"), expected_version=1),
        lambda: pair.store.update("unseen", messages=[]),
        lambda: pair.store.delete("unseen"),
        pair.store.prune_expired,
    ]
    for attempt in refused:
        with pytest.raises(StoreUnavailableError):
            attempt()
    pair.store.append_messages("s", turn("b"))
    pair.store.append_messages("s", turn("c"))
    with pytest.raises(StoreUnavailableError, match="wait for the store already"):
        pair.store.append_messages("s", turn("d"))
    assert pair.store.stats().pending == len(pair.store.pending()) == 2
    assert pair.said() == ["a", "to a", "b", "to b", "c", "to c"]


def test_an_unknown_session_raises_in_an_outage_with_unknown_raise() -> None:
    pair = Pair(unknown="raise")
    pair.primary.go_down()
    with pytest.raises(StoreUnavailableError):
        pair.store.get("s")


def test_deletes_and_updates_spare_what_others_wrote_meanwhile() -> None:
    pair = Pair()
    for session_id in ("deleted", "updated", "gone"):
        pair.store.append_messages(session_id, turn("a"))
    pair.primary.go_down()
    assert pair.store.delete("deleted")
    assert pair.store.delete("gone")
    pair.store.update("updated", messages=[SessionMessage("user", "b")])
    for session_id in ("deleted", "updated"):
        pair.primary.inner.append_message(session_id, SessionMessage("user", "from elsewhere"))
    pair.primary.come_back()
    assert pair.store.recover()
    assert pair.kept("deleted") == ["from elsewhere"]
    assert pair.kept("updated") == ["b", "from elsewhere"]
    assert pair.primary.inner.get("gone") is None


@pytest.mark.parametrize("second", ["delete", "update", "empty"])
@pytest.mark.parametrize("first", ["delete", "empty"])
def test_what_others_wrote_in_front_of_ours_is_spared(first: str, second: str) -> None:
    """Into a session that we emptied: our next messages then stand behind theirs."""
    pair = Pair()
    pair.store.append_messages("s", turn("a"))

    def take_away(how: str) -> None:
        if how == "delete":
            pair.store.delete("s")
        else:
            messages = [SessionMessage("user", "c")] if how == "update" else []
            pair.store.update("s", messages=messages)

    pair.primary.go_down()
    take_away(first)
    pair.primary.inner.append_message("s", SessionMessage("user", "from elsewhere"))
    pair.store.append_messages("s", turn("b"))
    take_away(second)
    pair.primary.come_back()
    assert pair.store.recover()
    assert pair.kept("s") == ["from elsewhere", *(["c"] if second == "update" else [])]


def test_a_create_of_what_was_there_becomes_an_append() -> None:
    pair = Pair()
    pair.primary.inner.create("s", messages=turn("old"), metadata={"title": "theirs"})
    pair.primary.go_down()
    pair.store.create("s", messages=turn("new"), metadata={"title": "ours", "tag": "x"})
    pair.primary.come_back()
    assert pair.said() == ["old", "to old", "new", "to new"]
    assert pair.primary.inner.get("s").metadata == {"title": "theirs", "tag": "x"}


def test_a_refused_write_is_set_aside_and_those_behind_it_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = Pair()
    pair.primary.inner.create("s", user_id="bob")
    pair.primary.go_down()
    pair.store.append_messages("s", turn("a secret"), user_id="alice")
    pair.store.append_messages("t", turn("b"), user_id="alice")
    pair.primary.come_back()
    assert pair.store.recover()
    assert [write.session_id for write in pair.store.rejected()] == ["s"]
    assert pair.kept("t") == ["b", "to b"]
    assert "secret" not in caplog.text + repr(pair.store.rejected())


def test_a_new_process_on_the_same_file_replays_everything(tmp_path: Path) -> None:
    primary = FaultyStore(InMemorySessionStore())
    journal = f"sqlite:///{tmp_path / 'journal.db'}"
    first = FallbackSessionStore(primary, fallback=journal, retry_after=0)
    first.append_messages("s", turn("a"))
    primary.go_down()
    first.append_messages("s", turn("b"))
    first._parts.journal.leave()  # as if it were killed: whoever comes next takes over
    second = FallbackSessionStore(primary, fallback=journal, retry_after=0)
    assert [str(m.content) for m in second.get_messages("s")] == ["a", "to a", "b", "to b"]
    primary.come_back()
    assert second.recover()
    assert [str(m.content) for m in primary.inner.get_messages("s")] == ["a", "to a", "b", "to b"]
    for store in (first, second):
        store._fallback.close()


def test_no_call_waits_for_the_one_that_probes() -> None:
    pair = Pair()
    pair.store.append_messages("s", turn("a"))
    pair.primary.go_down()
    assert pair.said() == ["a", "to a"]
    permit = pair.store._parts.health.permit()
    asked = pair.primary.requests
    assert asyncio.run(pair.store.aget_messages("s")) == pair.store.get_messages("s")
    assert pair.primary.requests == asked
    pair.store._parts.health.end(permit)


def test_closing_with_writes_in_memory_is_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pair = Pair()
    pair.primary.go_down()
    pair.store.append_messages("s", turn("a"))
    pair.store.close()
    assert "1 writes" in caplog.text
    assert len(pair.store.pending()) == 1


@pytest.mark.soak
def test_many_read_a_session_while_another_adds_to_it() -> None:
    pair = Pair()
    store = pair.store
    store.append_messages("s", turn("a"))
    store.get("s")
    done = threading.Event()

    def add() -> None:
        try:
            for number in range(20_000):
                store.append_message("s", SessionMessage("user", str(number)))
        finally:
            done.set()

    def read() -> None:
        while not done.is_set():
            assert len(store.get_messages("s", limit=2)) == 2

    with Stores(lambda: store, "sync") as stores:
        stores.at_once(add, read, read)
    assert len(pair.kept()) == 20_002


# -- What it says ------------------------------------------------------------------------------


def test_the_log_says_which_store_is_away_and_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "sessionstore")
    pair = Pair()
    pair.primary.go_down()
    pair.store.append_messages("an id", turn("a secret"))
    pair.primary.come_back()
    assert pair.store.recover()
    away, back = caplog.text.splitlines()
    assert "FaultyStore(InMemorySessionStore(<0 sessions>)) is unavailable, the fall" in away
    assert "FaultyStore(InMemorySessionStore(<0 sessions>)) is back" in back
    assert "an id" not in caplog.text


def test_a_rejected_write_says_why(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'journal.db'}"
    pair = Pair(fallback=url)
    pair.primary.inner.create("s", user_id="bob")
    pair.primary.go_down()
    pair.store.append_messages("s", turn("a"), user_id="alice")
    assert [write.reason for write in pair.store.pending()] == [""]
    pair.primary.come_back()
    assert pair.store.recover()
    assert [write.reason for write in pair.store.rejected()] == ["SessionAccessError"]
    pair.store.close()
    with FallbackSessionStore(pair.primary, fallback=url) as again:
        assert [write.reason for write in again.rejected()] == ["SessionAccessError"]


async def _async_callback(*_: object) -> None: ...


class _AsyncCallable:
    async def __call__(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"on_fallback": 3}, "on_fallback must be a function or None, not int"),
        ({"on_recover": "back"}, "on_recover must be a function or None, not str"),
        ({"on_fallback": _async_callback}, "on_fallback can't be async"),
        ({"on_recover": _AsyncCallable()}, "on_recover can't be async"),
        ({"on_recover": functools.partial(_async_callback, 1)}, "on_recover can't be async"),
        ({"retry_after": "1"}, "retry_after must be a number of seconds, not str"),
        ({"retry_cap": None}, "retry_cap must be a number of seconds, not NoneType"),
        ({"max_pending": "9"}, "max_pending must be a whole number, not str"),
        ({"max_sessions": 1.5}, "max_sessions must be a whole number, not float"),
    ],
)
def test_options_of_the_wrong_type_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=f"^{words}"):
        FallbackSessionStore(InMemorySessionStore(), **options)


@pytest.mark.parametrize("count", ["max_pending", "max_sessions", "max_messages"])
def test_a_count_of_none_is_refused_by_its_own_name(count: str) -> None:
    options: dict[str, Any] = {count: 0}
    with pytest.raises(ValueError, match=f"^{count} must be 1 or more$"):
        FallbackSessionStore(InMemorySessionStore(), **options)


@pytest.mark.parametrize("callback", [print, [].append, lambda *_: None, asyncio.Event().set])
def test_valid_callbacks_are_accepted(callback: Callable[..., None]) -> None:
    FallbackSessionStore(InMemorySessionStore(), on_fallback=callback, on_recover=callback).close()


@pytest.mark.parametrize("fallback", ["memory", "outage.db", 3, None])
def test_an_invalid_fallback_is_refused(fallback: Any) -> None:
    with pytest.raises(ValueError, match=r'^fallback must be "in-memory"'):
        FallbackSessionStore(InMemorySessionStore(), fallback=fallback)


def test_the_log_says_why_a_file_can_hold_no_journal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE checkpoints (thread_id TEXT)")
    fallback = f"sqlite:///{tmp_path / 'other.db'}"
    FallbackSessionStore(InMemorySessionStore(), fallback=fallback).close()
    assert "belongs to another application" in caplog.text


def test_a_ping_succeeds_while_the_fallback_answers() -> None:
    pair = Pair()
    pair.primary.go_down()
    pair.store.ping()
    asyncio.run(pair.store.aping())
    assert pair.store.is_degraded()
