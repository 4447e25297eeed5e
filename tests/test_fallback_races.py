"""What two threads, or two processes, do to a journal between two steps of a third."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore
from hooked import HookedStore

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SQLiteSessionStore,
    StoreConnectionError,
    StoreTimeoutError,
    StoreUnavailableError,
    WrapperSessionStore,
)
from sessionstore.fallback.journal_form import ADOPTED_BY
from sessionstore.fallback.requests import send
from sessionstore.flow import play
from sessionstore.operations import Append


def said(message_id: str) -> SessionMessage:
    return SessionMessage("user", "hello", id=message_id)


def down() -> FaultyStore:
    primary = FaultyStore(InMemorySessionStore())
    primary.go_down()
    return primary


def test_a_write_does_not_go_into_a_journal_that_was_lost_just_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread finds that a process has taken it over, as this one is about to write."""
    primary, file = down(), SQLiteSessionStore(tmp_path / "journal.db")
    with FallbackSessionStore(primary, fallback=file, retry_after=0) as store:
        store.append_message("s", said("m1"))
        journal = store._parts.journal
        [queue] = journal._queues.values()
        with SQLiteSessionStore(tmp_path / "journal.db") as other:
            other.update(queue.journals[-1], metadata={ADOPTED_BY: "another|1|1|x"})
        queue.touched, expect, lost = 0.0, journal._expect, []

        def expected(*args: Any) -> Any:
            found = expect(*args)
            if not lost:
                lost.append(play(journal.keep(queue), send))
            return found

        monkeypatch.setattr(journal, "_expect", expected)
        assert store.append_message("s", said("m2")) == 1
        assert lost == [False]
        primary.come_back()
        assert store.recover()
        assert [message.id for message in primary.get_messages("s")] == ["m2"]


def test_a_journal_that_ends_between_two_reads_is_still_owned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a write comes back of which the caller was told that it had failed."""

    class Losing(SQLiteSessionStore):
        loses = True

        def run(self, operation: Any) -> Any:
            result = super().run(operation)
            if self.loses and isinstance(operation, Append):
                raise StoreTimeoutError("the answer was lost")
            return result

    primary, file = down(), Losing(tmp_path / "journal.db")
    with FallbackSessionStore(primary, fallback=file, retry_after=0) as store:
        with pytest.raises(StoreUnavailableError):
            store.append_message("s", said("m1"))
        file.loses = False
        primary.come_back()
        journal = store._parts.journal
        [queue] = journal._queues.values()
        mine, owns, ended = queue.journals[-1], type(journal.obsolete).__contains__, []

        def contains(obsolete: Any, name: object) -> bool:
            found = owns(obsolete, name)
            if name == mine and not ended:
                ended.append(journal.release(journal.claim("s")))
            return found

        monkeypatch.setattr(type(journal.obsolete), "__contains__", contains)
        assert journal.owns(mine)
        monkeypatch.undo()
        store.recover()
        assert primary.get_messages("s") == []


@pytest.mark.parametrize("again", ["healthy", "in the outage"])
def test_an_id_that_was_deleted_before_what_is_remembered_is_new_again(again: str) -> None:
    primary = FaultyStore(InMemorySessionStore())
    with FallbackSessionStore(primary, max_messages=2) as store:
        store.append_messages("s", [said(f"m{n}") for n in range(6)])
        assert store.delete_messages("s", ["m0"]) == ["m0"]
        if again == "healthy":
            assert store.append_message("s", said("m0")) == 1
        primary.go_down()
        if again == "in the outage":
            assert store.append_message("s", said("m0")) == 1
        assert [message.id for message in store.get_messages("s", limit=2)] == ["m5", "m0"]
        primary.come_back()


def test_a_wrapped_fallback_in_memory_logs_what_is_lost_when_it_is_closed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What waits in it is lost when it is closed, and the log says so."""

    class Away(HookedStore):
        def before(self, operation: Any) -> None:  # noqa: ARG002
            raise StoreConnectionError("away")

    store = FallbackSessionStore(Away(), fallback=WrapperSessionStore(InMemorySessionStore()))
    store.append_message("s", said("m1"))
    store.close()
    assert "closed with 1 writes that the store lacks" in caplog.text
