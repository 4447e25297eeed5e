"""Restoring a session: a new one, as it was elsewhere, with its times."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
)
from sessionstore.models import SessionData, SessionInfo, SessionMessage
from sessionstore.operations import Append, Get, Restore
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import NASTY_IDS, conversation, ids, said, stored

__all__ = ["RestoreContract", "RestorePartsContract", "as_it_was"]

THEN = datetime(2021, 2, 3, 4, 5, 6, 789_012, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)
METADATA: dict[str, Any] = {"title": "Trip", "tags": ["a"], "cost": 1.50, "nothing": None}


def as_it_was(session_id: str, messages: list[SessionMessage], **fields: Any) -> SessionData:
    """Give a session as it was elsewhere, made in 2021 and written to for the last time then."""
    usual: dict[str, Any] = {
        "agent_id": "guide",
        "user_id": None,
        "metadata": {},
        "created_at": THEN,
        "updated_at": THEN + SECOND,
        "version": 41,
        "message_count": 40,
    }
    return SessionData(id=session_id, messages=messages, **{**usual, **fields})


class RestoreContract(StoreSuite):
    """`Restore` makes a session with the times that it is given."""

    def test_a_restored_session_is_as_it_was(self, store: SessionStore) -> None:
        """In all but its version; and is listed so."""
        given = as_it_was("s", conversation(5), user_id="u", metadata=METADATA)
        info = store.run(Restore(given))
        assert stored(store, "s") == replace(given, version=1, message_count=5)
        assert store.get_messages("s") == given.messages
        assert isinstance(info, SessionInfo)
        assert store.list_sessions(user_id="u", agent_id="guide").sessions == [info]

    def test_an_empty_session_is_restored(self, store: SessionStore) -> None:
        """With the first microsecond there is, and with ids and words of any kind."""
        first = datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=timezone.utc)
        for name in NASTY_IDS[::3]:
            given = as_it_was(name, [], user_id=name, created_at=first, metadata={name: name})
            assert store.run(Restore(given)) is not None
            there = store.get(name, user_id=name)
            assert there == replace(given, version=1, message_count=0)

    def test_what_is_there_is_not_restored(self, store: SessionStore) -> None:
        """A retry is told so, and what is there stays as it is."""
        store.create("s", user_id="u", messages=[said("a", "a")])
        before = stored(store, "s")
        for user_id in ("u", None):
            with pytest.raises(SessionExistsError):
                store.run(Restore(as_it_was("s", conversation(2), user_id=user_id)))
        assert stored(store, "s") == before

    def test_another_users_session_is_not_restored(self, store: SessionStore) -> None:
        """Whoever owns what is given is taken for the caller."""
        store.run(Restore(as_it_was("s", conversation(2), user_id="u")))
        before = stored(store, "s")
        with pytest.raises(SessionAccessError):
            store.run(Restore(as_it_was("s", conversation(3), user_id="eve")))
        with pytest.raises(SessionAccessError):
            store.append_message("s", said("b"), user_id="eve")
        assert store.append_message("s", said("b"), user_id="u") == 1
        assert stored(store, "s").created_at == before.created_at

    def test_a_restored_session_goes_on_as_any_does(self, store: SessionStore) -> None:
        """Its next write is now, and moves it to the front of lists."""
        log = conversation(3)
        store.run(Restore(as_it_was("s", log)))
        store.append_message("t", said("t"))
        assert [info.id for info in store.list_sessions().sessions] == ["t", "s"]
        assert store.append_messages("s", [said("", "m1"), said("new", "n")]) == 1
        there = stored(store, "s")
        assert (there.version, ids(there.messages)) == (2, ["m0", "m1", "m2", "n"])
        assert there.created_at == THEN
        assert there.updated_at > stored(store, "t").updated_at
        assert [info.id for info in store.list_sessions().sessions] == ["s", "t"]
        assert store.delete_messages("s", ["m0", "m2"]) == ["m0", "m2"]
        assert store.get_messages("s", before="n", limit=1) == [log[1]]

    def test_a_list_is_in_the_order_of_the_times(self, store: SessionStore) -> None:
        """Also where many have one time: each page goes on where the one before it ended."""
        store.append_message("new", said("new"))
        steps = [3, 0, 5, 0, 1, 0, 4, 0, 2]
        for number, step in enumerate(steps):
            at = THEN + step * SECOND
            store.run(Restore(as_it_was(f"s{number}", [], user_id="u", updated_at=at)))
        for scope in ({}, {"user_id": "u"}, {"agent_id": "guide"}):
            listed = [info.updated_at for info in _pages(store, **scope)]
            assert listed == sorted(listed, reverse=True)
            assert len({info.id for info in _pages(store, **scope)}) == len(listed)
            assert len(listed) == len(steps) + (not scope)
        later = store.list_sessions(updated_after=THEN, updated_before=THEN + 5 * SECOND)
        assert [info.id for info in later.sessions] == ["s6", "s0", "s8", "s4"]
        assert len(store.list_sessions(updated_before=THEN + SECOND).sessions) == 4

    def test_new_metadata_leaves_a_restored_session_in_its_place(self, store: SessionStore) -> None:
        """Which others with the same time don't share."""
        for name in "abcd":
            store.run(Restore(as_it_was(name, [])))
        before = [info.id for info in _pages(store)]
        for name in "badc":
            info = store.update(name, metadata={"title": name})
            assert info.updated_at == THEN + SECOND
        assert [info.id for info in _pages(store)] == before

    def test_what_can_not_be_restored_is_refused(self, store: SessionStore) -> None:
        """Before anything is written."""
        good = as_it_was("s", conversation(2))
        ahead = datetime.now(timezone.utc) + timedelta(days=2)
        bad: list[dict[str, Any]] = [
            {"id": ""},
            {"user_id": 7},
            {"agent_id": "x" * 513},
            {"metadata": []},
            {"metadata": {"a": {1, 2}}},
            {"created_at": datetime(2021, 1, 1)},  # noqa: DTZ001 - it has no timezone
            {"created_at": "2021-01-01"},
            {"created_at": THEN + 2 * SECOND},
            {"created_at": datetime(1969, 1, 1, tzinfo=timezone.utc)},
            {"updated_at": ahead},
            {"updated_at": datetime(9999, 12, 31, tzinfo=timezone.utc)},
        ]
        for fields in bad:
            with pytest.raises(InvalidSessionError):
                store.run(Restore(replace(good, **fields)))
        for messages in (7, [7], [said("x", id="")], [said("x", metadata={"a": object()})]):
            with pytest.raises(InvalidMessageError):
                store.run(Restore(replace(good, messages=messages)))
        for given in (None, "s", {"id": "s"}):
            with pytest.raises(InvalidSessionError):
                store.run(Restore(given))  # type: ignore[arg-type]
        assert store.get("s") is None

    def test_restoring_is_a_step_among_others(self, store: SessionStore) -> None:
        """All of them, or nothing."""
        given = as_it_was("s", conversation(2))
        with pytest.raises(SessionExistsError):
            store.run([Restore(given), Append("s", [said("x")]), Restore(given)])
        assert store.get("s") is None
        made, there = store.run([Restore(given), Get("s")])
        assert (made.updated_at, made.version) == (given.updated_at, 1)
        assert there == stored(store, "s") == replace(given, version=1, message_count=2)


class RestorePartsContract(StoreSuite):
    """A long session is restored in parts, each at the version that the one before it gave."""

    def test_a_session_is_restored_in_parts(self, store: SessionStore) -> None:
        """What is there then is what is there when it is restored at once."""
        log = conversation(5000)
        whole = as_it_was("s", log, user_id="u", metadata=METADATA, message_count=5000)
        parts = [log[start : start + 1000] for start in range(0, 5000, 1000)]
        marked = {**METADATA, "tags": [], "unfinished": True}
        version = None
        for part in parts:
            given = replace(whole, messages=part, metadata=marked)
            info = store.run(Restore(given, expected_version=version))
            assert info is not None
            version = info.version
        assert stored(store, "s").metadata == marked
        info = store.run(Restore(replace(whole, messages=[]), expected_version=version))
        assert info is not None
        assert stored(store, "s") == replace(whole, version=info.version)
        assert store.list_sessions().sessions == [info]

    def test_a_part_says_what_the_session_is_then(self, store: SessionStore) -> None:
        """Its messages are added where they are new; its time and its metadata are taken."""
        store.run(Restore(as_it_was("s", conversation(2), metadata={"a": 1, "b": 2})))
        store.run(Restore(as_it_was("t", [], updated_at=THEN + 2 * SECOND)))
        at = THEN + 3 * SECOND
        part = as_it_was("s", conversation(3), metadata={"b": 3}, updated_at=at)
        info = store.run(Restore(replace(part, agent_id="other"), expected_version=1))
        assert info is not None
        assert (info.version, info.message_count) == (2, 3)
        there = stored(store, "s")
        assert (there.metadata, there.updated_at, there.created_at) == ({"b": 3}, at, THEN)
        assert (there.agent_id, ids(there.messages)) == ("guide", ["m0", "m1", "m2"])
        assert [info.id for info in store.list_sessions().sessions] == ["s", "t"]

    def test_a_part_expects_a_version(self, store: SessionStore) -> None:
        """At another one nothing is written, nor where there is no session."""
        part = as_it_was("s", conversation(3), metadata={"b": 3}, user_id="u")
        with pytest.raises(SessionConflictError):
            store.run(Restore(part, expected_version=1))
        assert store.get("s") is None
        store.create("s", user_id="u", metadata={"a": 1})
        before = stored(store, "s")
        with pytest.raises(SessionConflictError):
            store.run(Restore(part, expected_version=2))
        with pytest.raises(SessionAccessError):
            store.run(Restore(replace(part, user_id="eve"), expected_version=1))
        with pytest.raises(SessionExistsError):
            store.run(Restore(part, expected_version=0))
        with pytest.raises(InvalidSessionError):
            store.run(Restore(part, expected_version=-1))
        assert stored(store, "s") == before

    def test_a_part_is_undone_where_the_list_fails(self, store: SessionStore) -> None:
        """Messages, metadata, time and place."""
        store.run(Restore(as_it_was("s", conversation(2), metadata={"a": 1, "b": 2})))
        before, listed = stored(store, "s"), store.list_sessions()
        part = as_it_was("s", conversation(4), metadata={"b": 3}, updated_at=THEN + 9 * SECOND)
        with pytest.raises(SessionConflictError):
            store.run([Restore(part, expected_version=1), Restore(part, expected_version=1)])
        assert stored(store, "s") == before
        assert store.list_sessions() == listed


def _pages(store: SessionStore, **scope: Any) -> Iterator[SessionInfo]:
    """Give the sessions of a list, each on a page of its own."""
    cursor = None
    while True:
        page = store.list_sessions(limit=1, cursor=cursor, **scope)
        yield from page.sessions
        if not (cursor := page.cursor):
            return
