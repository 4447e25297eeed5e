"""Summaries in a session's metadata: read with the messages, and gone with their last one."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstore.models import SessionMessage
from sessionstore.operations import Append, DeleteMessages, Get, Rewind, Update
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import conversation, ids, said
from sessionstore.window import Window

__all__ = ["SummaryContract"]

SYSTEM = SessionMessage("system", "Be kind.", id="system")
SUMMARY = {"summary": {"text": "They met.", "until": "m5"}}
SHOWN = "summary:m5"


class SummaryContract(StoreSuite):
    """A window shows a session's newest summary in place of what it covers; the log has it all."""

    def test_get_keeps_the_system_message(self, store: SessionStore) -> None:
        """As `get_messages` does, and with what is known of the session."""
        log = [SYSTEM, *conversation(4)]
        store.create("s", messages=log, user_id="alice", metadata=SUMMARY)
        for limit in (0, 2, 4, 5, 9, None):
            last = log[-limit:] if limit else [] if limit == 0 else log
            session = store.run(Get("s", limit, "alice", keep_system=True))
            assert session is not None
            assert session.messages == (last if last[:1] == [SYSTEM] else [SYSTEM, *last])
            assert (session.message_count, session.metadata) == (5, SUMMARY)
        read, added = store.run(
            [Get("s", 1, "alice", keep_system=True), Append("s", [said("new", "n")], "a", "alice")]
        )
        assert (read.messages, added) == ([SYSTEM, log[-1]], 1)
        store.append_messages("t", conversation(3))
        session = store.run(Get("t", 1, keep_system=True))
        assert session is not None
        assert ids(session.messages) == ["m2"]

    def test_a_summary_stands_for_what_it_covers(self, store: SessionStore) -> None:
        """It comes behind the system message, and the log is read as it was written."""
        log = [SYSTEM, *conversation(8)]
        store.create("s", messages=log, metadata=SUMMARY)
        for window in (Window(), Window(max_messages=4), Window(max_tokens=10**6)):
            assert viewed(store, window) == ["system", SHOWN, "m6", "m7"]
        assert store.get_messages("s") == log

    def test_a_summary_is_shown_before_a_window_that_ends_behind_it(
        self, store: SessionStore
    ) -> None:
        """What it covers is not among what was read: it is there all the same."""
        store.create("s", messages=conversation(12), metadata=SUMMARY)
        assert viewed(store, Window(max_messages=2)) == [SHOWN, "m10", "m11"]

    @pytest.mark.parametrize(
        "change",
        [Rewind("s", "m3"), DeleteMessages("s", ["m5"]), Update("s", conversation(3))],
        ids=["rewind", "delete", "replace"],
    )
    def test_a_summary_goes_with_its_last_message(self, store: SessionStore, change: Any) -> None:
        """Where that is gone it is not shown, whatever is said since."""
        store.create("s", messages=conversation(12), metadata=SUMMARY)
        store.run(change)
        assert viewed(store, Window()) == ids(store.get_messages("s"))
        store.append_messages("s", [said("hello", f"n{n}") for n in range(4)])
        assert viewed(store, Window(max_messages=2)) == ["n2", "n3"]

    @pytest.mark.parametrize(
        "change",
        [Rewind("s", "m3"), DeleteMessages("s", ["m4", "m5"])],
        ids=["rewind", "delete"],
    )
    def test_a_summary_is_taken_away_in_the_step_that_deletes(
        self, store: SessionStore, change: Any
    ) -> None:
        """So it is not shown again where its last message is said again with its id."""
        store.create("s", messages=conversation(12), metadata={**SUMMARY, "title": "A talk"})
        store.run([change, Update("s", metadata={"summary": None}), Append("s", [said("x", "m5")])])
        assert viewed(store, Window()) == ids(store.get_messages("s"))
        session = store.get("s", limit=1)
        assert session is not None
        assert (ids(session.messages), session.metadata) == (["m5"], {"title": "A talk"})

    def test_a_rewind_behind_a_summary_leaves_it(self, store: SessionStore) -> None:
        """What it covers is still there."""
        store.create("s", messages=conversation(12), metadata=SUMMARY)
        store.rewind("s", to="m7")
        assert viewed(store, Window()) == [SHOWN, "m6", "m7"]

    def test_a_fork_has_the_summary_of_what_it_has(self, store: SessionStore) -> None:
        """One that ends before the summary's last message does not show it."""
        store.create("s", messages=conversation(12), metadata=SUMMARY)
        store.fork("s", "whole")
        store.fork("s", "short", at="m3")
        assert viewed(store, Window(max_messages=2), "whole") == [SHOWN, "m10", "m11"]
        assert viewed(store, Window(max_messages=2), "short") == ["m2", "m3"]
        assert viewed(store, Window(), "short") == ["m0", "m1", "m2", "m3"]


def viewed(store: SessionStore, window: Window, session_id: str = "s") -> list[str | None]:
    """Give the ids of what a window shows."""
    return ids(window.load(store, session_id))
