"""Journals that earlier releases wrote, whose entries are flat, are read and replayed.

``journals_of_flat_entries.json`` holds what such a release left in its fallback store when it was
killed in an outage: a journal for each session, with writes of each kind, and a refused one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore

from sessionstore import (
    CorruptMessageError,
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    SQLiteSessionStore,
)
from sessionstore.fallback.entries import Entry, decode_entry, encode_entry
from sessionstore.fallback.journal_owners import leave, name_for
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    ReplaceMessage,
    Update,
)

JOURNALS = json.loads((Path(__file__).parent / "journals_of_flat_entries.json").read_text())
WRITES = [text for one in JOURNALS for role, text, _ in one["entries"] if role == "write"]


def say(message_id: str, text: str = "") -> SessionMessage:
    return SessionMessage("user", text or f"text {message_id} ü😀", id=message_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FallbackSessionStore]:
    """A store that takes over what that process left, while its primary is still away."""
    path, owner = tmp_path / "outage.db", Owner()
    gone = name_for(owner)
    leave(gone)
    with SQLiteSessionStore(path, synchronous="NORMAL") as file:
        for journal in JOURNALS:
            entries = [SessionMessage(role, text, id=of) for role, text, of in journal["entries"]]
            user_id = None if journal["id"] == "sessionstore:rejected" else gone
            file.append_messages(
                journal["id"], entries, agent_id=journal["agent_id"], user_id=user_id
            )
    primary = FaultyStore(InMemorySessionStore())
    for session_id in "acdefg":
        first = [say("0"), say("1")]
        primary.append_messages(session_id, first, user_id="u", agent_id="support")
    primary.go_down()
    with FallbackSessionStore(primary, fallback=SQLiteSessionStore(path), retry_after=0) as opened:
        yield opened


class Owner:
    """Owns journals."""


def said(store: Any, session_id: str) -> list[str]:
    return [f"{message.id} {message.content}" for message in store.get_messages(session_id)]


def test_flat_entries_of_every_kind_are_read() -> None:
    kinds = {type(decode_entry(text).operation) for text in WRITES}
    assert kinds == {Append, Create, ReplaceMessage, DeleteMessages, Update, Delete}


@pytest.mark.parametrize("text", WRITES)
def test_an_entry_says_the_same_as_it_is_written_now(text: str) -> None:
    entry, flat = decode_entry(text), json.loads(text)
    written = json.loads(encode_entry(entry))
    operation = written["operation"]
    assert (written["id"], operation["kind"]) == (flat["id"], flat["kind"])
    messages = [operation["message"]] if "message" in operation else operation.get("messages")
    assert messages == flat["messages"]
    for field in ("session_id", "user_id", "metadata"):
        assert operation.get(field) == flat[field]
    assert operation.get("message_ids", []) == flat["message_ids"]
    assert written.get("known", []) == flat["known"]
    assert written.get("blind", False) == flat["blind"]
    assert written.get("reason", "") == flat.get("reason", "")
    assert decode_entry(encode_entry(entry)) == entry


@pytest.mark.parametrize("text", WRITES)
def test_a_flat_entry_that_lacks_what_its_kind_needs_is_damaged(text: str) -> None:
    flat = json.loads(text)
    if flat["kind"] == "delete":
        return
    flat |= {"messages": None, "message_ids": [], "metadata": None}
    with pytest.raises(CorruptMessageError):
        decode_entry(json.dumps(flat))


def test_flat_entries_that_a_process_left_are_read_in_the_outage(
    store: FallbackSessionStore,
) -> None:
    assert len(store.pending()) == len(WRITES) - 1
    assert said(store, "a") == [f"{n} text {n} ü😀" for n in range(5)]
    assert said(store, "c") == ["0 text 0 ü😀", "1 new"]
    assert said(store, "f") == ["1 text 1 ü😀", "5 text 5 ü😀"]
    assert store.get("g") is None


def test_flat_entries_that_a_process_left_are_replayed(store: FallbackSessionStore) -> None:
    store.append_messages("a", [say("6")], user_id="u")  # behind the older entries, in the new form
    primary = store.wrapped
    primary.come_back()  # type: ignore[attr-defined]
    assert store.recover()
    assert store.pending() == []
    assert said(primary, "a") == [f"{n} text {n} ü😀" for n in (0, 1, 2, 3, 4, 6)]
    assert primary.get_messages("a")[2].tool_calls[0]["args"] == {"x": [1.5, None]}
    assert said(primary, "b") == ["0 text 0 ü😀", "1 text 1 ü😀"]
    assert (primary.get("b").metadata, primary.get("b").agent_id) == ({"title": "b"}, "support")
    assert said(primary, "c") == ["0 text 0 ü😀", "1 new"]
    assert said(primary, "d") == ["1 text 1 ü😀"]
    assert primary.get("e").metadata == {"title": "e"}
    assert said(primary, "f") == ["1 text 1 ü😀", "5 text 5 ü😀"]
    assert primary.get("f").metadata == {"title": "f"}
    assert primary.get("g") is None
    assert said(primary, "n") == ["0 text 0 ü😀"]


def test_flat_entries_that_were_set_aside_are_offered(store: FallbackSessionStore) -> None:
    [refused] = store.rejected()
    assert refused.reason == "SessionAccessError"
    assert isinstance(refused.operation, Append)
    assert refused.operation.user_id == "mallory"


def test_an_entry_of_each_kind_comes_back_equal() -> None:
    message = say("m")
    for write in (
        Append("s", [message], "agent", "u"),
        Create("s", [message], "agent", "u", {"title": "t"}),
        ReplaceMessage("s", message, "u"),
        DeleteMessages("s", ["m"], "u"),
        Update("s", [], {"gone": None}, "u"),
        Update("s", None, {"title": "t"}),
        Delete("s"),
    ):
        entry = Entry("id", write, ["known"], blind=True, reason="SessionAccessError")
        assert decode_entry(encode_entry(entry)) == entry
