"""Several operations on one session as one step: `run` with a list."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest

from sessionstore.errors import (
    InvalidSessionError,
    SessionAccessError,
    SessionStoreError,
)
from sessionstore.operations import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    ReplaceMessage,
    Several,
    Update,
)
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said

__all__ = ["SeveralContract"]

_CALLERS, _EACH = 6, 20


def _changes(session_id: str) -> list[Operation[Any]]:
    """Give writes of every kind that a session of ten messages takes."""
    return [
        Append(session_id, [said("x", "x"), said("y", "y")]),
        DeleteMessages(session_id, ["m0", "m4", "m9", "y"]),
        ReplaceMessage(session_id, said("other", "m5")),
        Update(session_id, metadata={"title": None, "tag": "new"}),
        Append(session_id, [said("z", "z")]),
        Update(session_id, [said("again", "m3"), said("new", "n")], {"more": 1}),
    ]


def _turn_of(user_id: str) -> list[Operation[Any]]:
    """Give what begins a turn of a user."""
    message = said("Hello", user_id)
    return [GetMessages("s", user_id=user_id), Append("s", [message], user_id=user_id)]


_FAILURES: dict[str, Operation[Any]] = {
    "conflict": Append("s", [said("late", "late")], expected_version=99),
    "conflicting delete": DeleteMessages("s", ["m1"], expected_version=99),
    "conflicting update": Update("s", metadata={}, expected_version=99),
    "no such message": ReplaceMessage("s", said("x", "nowhere")),
    "nothing before": GetMessages("s", before="nowhere"),
    "there already": Create("s"),
}


class SeveralContract(StoreSuite):
    """A list of operations on one session is one step: all of them, or none."""

    def test_each_of_several_finds_what_those_before_it_did(self, store: SessionStore) -> None:
        """And the result of each is what it gives alone."""
        first, empty, one, added, page, replaced, deleted, data = store.run(
            [
                Create("s", [said("a", "a")], user_id="alice", metadata={"title": "T"}),
                GetMessages("s", before="a", user_id="alice"),
                GetMessages("s", user_id="alice"),
                Append("s", [said("a", "a"), said("b", "b"), said("c", "c")], user_id="alice"),
                GetMessages("s", limit=1, before="c", user_id="alice"),
                ReplaceMessage("s", said("B", "b"), user_id="alice"),
                DeleteMessages("s", ["c", "x"], user_id="alice"),
                Get("s", user_id="alice"),
            ]
        )
        assert (first.version, first.metadata, contents(first.messages)) == (
            1,
            {"title": "T"},
            ["a"],
        )
        assert (empty, contents(one), added, contents(page)) == ([], ["a"], 2, ["b"])
        assert (replaced, deleted) == (None, ["c"])
        assert contents(data.messages) == ["a", "B"]
        assert data == store.get("s")
        assert data.version == 4

    def test_a_turn_begins_with_what_was_said_before_it(self, store: SessionStore) -> None:
        """What is read before an append is without it, and the session may be new."""
        for number in range(3):
            view, added = store.run(
                [GetMessages("s", limit=2), Append("s", [said(str(number), f"m{number}")])]
            )
            assert contents(view) == [str(n) for n in range(number)][-2:]
            assert added == 1
        assert contents(store.get_messages("s")) == ["0", "1", "2"]

    def test_a_list_is_the_same_as_several(self, store: SessionStore) -> None:
        """A tuple, too; a list of one; and one that only reads."""
        assert store.run(Several([Append("s", [said("a", "a")])])) == [1]
        assert store.run([Append("s", [said("a", "a")])]) == [0]
        assert store.run((Get("s"), GetMessages("s"))) == [store.get("s"), store.get_messages("s")]
        assert store.run([Get("nowhere"), GetMessages("nowhere")]) == [None, []]
        assert store.run([Append("nowhere", []), Get("nowhere"), Delete("nowhere")]) == [
            0,
            None,
            False,
        ]

    def test_every_write_of_a_list_counts(self, store: SessionStore) -> None:
        """Each raises the version, so that the next can name it."""
        store.run(
            [
                Append("s", [said("a", "a")], expected_version=0),
                Append("s", [said("b", "b")], expected_version=1),
            ]
        )
        info = store.run([Update("s", metadata={"n": 1}, expected_version=2), Get("s", 0)])[1]
        assert (info.version, info.message_count, info.metadata) == (3, 2, {"n": 1})
        assert [found.id for found in store.list_sessions().sessions] == ["s"]

    def test_a_list_that_is_run_again_adds_nothing_twice(self, store: SessionStore) -> None:
        """As every append."""
        turn = [GetMessages("s"), Append("s", [said("a", "a")]), Append("s", [said("b", "b")])]
        assert [store.run(turn)[1:], store.run(turn)[1:]] == [[1, 1], [0, 0]]

    def test_a_list_may_end_with_a_delete(self, store: SessionStore) -> None:
        """What was there can be read in the same step."""
        store.append_messages("s", conversation(5))
        data, more, gone = store.run([Get("s"), Append("s", [said("x", "x")]), Delete("s")])
        assert (data.message_count, more, gone) == (5, 1, True)
        assert store.get("s") is None
        assert store.list_sessions().sessions == []

    @pytest.mark.parametrize("why", _FAILURES)
    def test_one_of_several_that_fails_fails_all(self, store: SessionStore, why: str) -> None:
        """Whatever was done before it in the list: the session is as it was."""
        store.create("s", messages=conversation(10), metadata={"title": "T"})
        store.append_message("t", said("t", "t"))
        before, page = store.get("s"), store.list_sessions()
        changes = _changes("s")
        for count in range(1, len(changes) + 1):
            failing = _FAILURES[why]
            with pytest.raises(SessionStoreError) as caught:
                store.run([*changes[:count], failing, Append("s", [said("w", "w")])])
            with pytest.raises(type(caught.value)):
                store.run(failing)
            assert store.get("s") == before
            assert store.list_sessions() == page
        assert len(store.run(changes)) == len(changes)
        assert ids(store.get_messages("s")) == ["m3", "n"]

    @pytest.mark.parametrize("why", [why for why in _FAILURES if why != "there already"])
    def test_several_that_fail_make_no_session(self, store: SessionStore, why: str) -> None:
        """Neither for readers nor in lists."""
        with pytest.raises(SessionStoreError):
            store.run([Append("s", [said("a", "a")]), _FAILURES[why]])
        assert store.get("s") is None
        assert store.list_sessions().sessions == []
        assert (
            store.run([Append("s", [said("a", "a")], expected_version=0), Get("s")])[1].version == 1
        )

    def test_several_check_the_owner(self, store: SessionStore) -> None:
        """In the same step; a session that is made has the owner that all of them name."""
        for name in ("alice", "alice"):
            store.run(_turn_of(name))
        before = store.get("s")
        with pytest.raises(SessionAccessError):
            store.run(_turn_of("eve"))
        assert store.get("s", user_id="alice") == before

    @pytest.mark.parametrize(
        "make",
        [
            lambda: [Get("s"), Get("t")],
            lambda: [Get("s", user_id="alice"), Get("s", user_id="eve")],
            lambda: [Get("s", user_id="alice"), Get("s")],
            lambda: [Get("s"), ListSessions()],
            lambda: [Ping()],
            lambda: [Several([Get("s")])],
            lambda: [Get("s"), "Get"],
            lambda: [Delete("s"), Append("s", [])],
            list,
        ],
        ids=["sessions", "users", "no user", "list", "ping", "nested", "text", "delete", "none"],
    )
    def test_what_can_be_no_one_step_is_refused(
        self, store: SessionStore, make: Callable[[], list[Any]]
    ) -> None:
        """Before anything is written."""
        with pytest.raises(InvalidSessionError):
            store.run([Append("s", [said("a", "a")]), *make()] if make() else [])
        assert store.get("s") is None

    def test_a_list_is_what_it_was_when_it_was_made(self, store: SessionStore) -> None:
        """Whatever becomes of the caller's list afterwards."""
        parts: list[Any] = [Append("s", [said("a", "a")])]
        several = Several(parts)
        parts += [Append("t", [said("b", "b")]), Ping()]
        assert store.run(several) == [1]
        assert store.get("t") is None

    def test_nobody_comes_between_several(self, stores: Stores) -> None:
        """What each of many callers reads is all that was there when its message came."""
        store = stores.open()

        def turns(caller: int) -> list[int]:
            seen = []
            for number in range(_EACH):
                message = said("x", f"{caller}-{number}")
                view, added = store.run([GetMessages("s"), Append("s", [message])])
                assert added == 1
                seen.append(len(view))
            return seen

        works = [lambda caller=caller: turns(caller) for caller in range(_CALLERS)]
        seen = sorted(chain.from_iterable(stores.at_once(*works)))
        assert seen == list(range(_CALLERS * _EACH))
