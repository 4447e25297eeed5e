"""Listing sessions: their order, the filters, and paging."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sessionstore.errors import InvalidSessionError
from sessionstore.models import SessionInfo
from sessionstore.operations import Append, Get, Update
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import conversation, said, stored

__all__ = ["ListContract"]


def pages(store: SessionStore, limit: int, **scope: Any) -> Iterator[list[str]]:
    """Page through the sessions' ids to the end."""
    cursor = None
    while True:
        page = store.list_sessions(limit=limit, cursor=cursor, **scope)
        yield [info.id for info in page.sessions]
        cursor = page.cursor
        if cursor is None:
            return


def listed(store: SessionStore, **scope: Any) -> list[str]:
    """Give the ids of one page."""
    return [info.id for info in store.list_sessions(**scope).sessions]


class ListContract(StoreSuite):
    """`list_sessions` gives sessions, newest activity first, a page at a time."""

    def test_a_list_may_be_empty(self, store: SessionStore) -> None:
        """There is one empty page."""
        assert list(pages(store, 5)) == [[]]
        assert list(pages(store, 5, agent_id="a", user_id="u")) == [[]]

    def test_a_list_has_all_about_a_session(self, store: SessionStore) -> None:
        """A session is listed with all but its messages, and with their number."""
        log = conversation(3)
        store.create("s", agent_id="a", user_id="u", messages=log, metadata={"title": "T"})
        store.append_message("s", said("more"))
        session = stored(store, "s")
        assert store.list_sessions().sessions == [
            SessionInfo(
                id="s",
                agent_id="a",
                user_id="u",
                metadata={"title": "T"},
                created_at=session.created_at,
                updated_at=session.updated_at,
                version=2,
                message_count=4,
            )
        ]

    def test_newest_activity_first(self, store: SessionStore) -> None:
        """Every kind of write that is about messages moves its session to the front."""
        for session_id in "abcde":
            store.create(session_id, messages=conversation(1))
        assert listed(store) == list("edcba")
        store.append_message("a", said("more"))
        assert listed(store) == list("aedcb")
        store.replace_message("b", said("better", "m0"))
        assert listed(store) == list("baedc")
        store.update("d", messages=[], metadata={"a": 1})
        assert listed(store) == list("dbaec")
        store.delete_messages("c", ["m0"])
        assert listed(store) == list("cdbae")

    def test_metadata_alone_moves_nothing(self, store: SessionStore) -> None:
        """A new title raises the version, and leaves time and place, alone and among others."""
        for session_id in "abc":
            store.create(session_id, agent_id="x", user_id="u", messages=conversation(1))
        made = stored(store, "a")
        told = store.update("a", metadata={"title": "T"})
        store.run([Get("a", 0), Update("a", metadata={"tag": 1}), Update("a", metadata={"n": 2})])
        found = stored(store, "a")
        assert (told.version, told.updated_at, told.metadata) == (
            2,
            made.updated_at,
            {"title": "T"},
        )
        assert (found.version, found.updated_at, found.created_at) == (
            4,
            made.updated_at,
            made.created_at,
        )
        assert found.metadata == {"title": "T", "tag": 1, "n": 2}
        for scope in ({}, {"agent_id": "x"}, {"user_id": "u"}):
            assert listed(store, **scope) == list("cba")
        first = store.list_sessions(limit=1)
        store.update("b", metadata={"title": "U"})
        assert listed(store, limit=1, cursor=first.cursor) == ["b"]

    def test_metadata_with_messages_in_one_step_moves(self, store: SessionStore) -> None:
        """So does a title that is given in the step in which a turn is saved, in any order."""
        for session_id in "abc":
            store.create(session_id, messages=conversation(1))
        title = {"title": "T"}
        store.run([Append("a", [said("more", "x")]), Update("a", metadata=title)])
        assert listed(store) == list("acb")
        store.run([Update("b", metadata=title), Append("b", [said("more", "x")])])
        assert listed(store) == list("bac")
        store.run([Update("c", metadata=title), Append("c", [said("again", "m0")])])
        assert listed(store) == list("bac")
        store.create("d")
        store.run([Update("d", metadata=title), Append("d", conversation(1))])
        assert listed(store) == list("dbac")
        store.delete("a")
        store.create("a")
        store.run([Get("a"), Append("a", conversation(1)), Update("a", metadata=title)])
        assert listed(store) == list("adbc")
        assert stored(store, "a").updated_at > stored(store, "d").updated_at

    def test_what_writes_nothing_moves_nothing(self, store: SessionStore) -> None:
        """Neither a read nor an append of what is held is activity."""
        for session_id in "ab":
            store.create(session_id, messages=[said("same", "m")])
        store.append_message("a", said("same", "m"))
        store.append_messages("a", [])
        store.get("a")
        assert listed(store) == ["b", "a"]

    def test_a_list_is_filtered_by_agent_and_user(self, store: SessionStore) -> None:
        """By agent, by owner, and by both: exactly those, in order."""
        for number, (agent, user) in enumerate(
            (agent, user) for user in ("u", "v", None) for agent in ("a", "b") for _ in range(2)
        ):
            store.append_messages(str(number), conversation(1), agent_id=agent, user_id=user)
        assert listed(store) == [str(number) for number in reversed(range(12))]
        assert listed(store, agent_id="a") == ["9", "8", "5", "4", "1", "0"]
        assert listed(store, user_id="v") == ["7", "6", "5", "4"]
        assert listed(store, agent_id="b", user_id="u") == ["3", "2"]
        assert listed(store, agent_id="c") == listed(store, user_id="w") == []
        assert listed(store, agent_id="u") == listed(store, user_id="a") == []

    def test_filters_hold_after_a_write(self, store: SessionStore) -> None:
        """A filtered list is in the order of activity too, and forgets what is deleted."""
        for session_id in "abcd":
            store.create(session_id, agent_id="x", user_id="u")
        store.append_messages("b", conversation(1))
        store.delete("c")
        for scope in ({"agent_id": "x"}, {"user_id": "u"}, {"agent_id": "x", "user_id": "u"}):
            assert listed(store, **scope) == ["b", "d", "a"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 100])
    def test_pages_cover_the_list_once(self, store: SessionStore, limit: int) -> None:
        """Each session comes once, pages are full, and the last one has no cursor."""
        for number in range(12):
            store.create(str(number), agent_id="ab"[number % 2], user_id="uv"[number % 2])
        even = [str(number) for number in (10, 8, 6, 4, 2, 0)]
        full = [even[start : start + limit] for start in range(0, 6, limit)]
        assert list(pages(store, limit, agent_id="a")) == full
        assert list(pages(store, limit, user_id="u")) == full
        assert list(pages(store, limit, agent_id="a", user_id="u")) == full
        assert [len(page) for page in pages(store, 5)] == [5, 5, 2]

    @pytest.mark.parametrize("limit", [2**63 - 1, 2**63, 10**30])
    def test_a_page_may_be_larger_than_the_list(self, store: SessionStore, limit: int) -> None:
        """A limit above the number of sessions gives all."""
        store.create("s")
        assert list(pages(store, limit)) == [["s"]]

    def test_paging_while_others_write_skips_no_session(self, store: SessionStore) -> None:
        """One that moves to the front is not shown again; one that is deleted holds nothing up."""
        for session_id in "abcdef":
            store.create(session_id)
        first = store.list_sessions(limit=2)
        store.append_messages("e", conversation(1))
        store.delete("d")
        second = store.list_sessions(limit=2, cursor=first.cursor)
        store.create("new")
        third = store.list_sessions(limit=2, cursor=second.cursor)
        found = [info.id for page in (first, second, third) for info in page.sessions]
        assert found == ["f", "e", "c", "b", "a"]

    @pytest.mark.parametrize(
        "cursor",
        ["", "x", "1.x", "1.2.3", "\N{GRINNING FACE}", "9" * 5000, 7],
        ids=lambda cursor: repr(cursor)[:20],
    )
    def test_an_invalid_cursor_is_refused(self, store: SessionStore, cursor: Any) -> None:
        """A cursor that no page gave is refused."""
        store.create("s")
        with pytest.raises(InvalidSessionError):
            store.list_sessions(cursor=cursor)

    @pytest.mark.parametrize("limit", [0, -1, 1.0, "2", True, None], ids=repr)
    def test_a_list_refuses_an_invalid_limit(self, store: SessionStore, limit: Any) -> None:
        """A page holds one session or more."""
        with pytest.raises(InvalidSessionError):
            store.list_sessions(limit=limit)

    def test_a_page_has_50_sessions_by_default(self, store: SessionStore) -> None:
        """50 are listed where nothing is said."""
        for number in range(51):
            store.create(str(number))
        page = store.list_sessions()
        assert len(page.sessions) == 50
        assert [i.id for i in store.list_sessions(cursor=page.cursor).sessions] == ["0"]
