"""Ownership: another user's session is neither read nor written, nor revealed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sessionstore.errors import SessionAccessError, SessionExistsError
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite, attempt
from sessionstore.testing.samples import contents, conversation, said, stored

__all__ = ["OwnershipContract"]

EVE = "eve"

CALLS: dict[str, Callable[[SessionStore], Any]] = {
    "create": lambda store: store.create("s", user_id=EVE, messages=[said("x")]),
    "get": lambda store: store.get("s", user_id=EVE),
    "get-limit": lambda store: store.get("s", limit=0, user_id=EVE),
    "read": lambda store: store.get_messages("s", user_id=EVE),
    "read-limit": lambda store: store.get_messages("s", limit=0, user_id=EVE),
    "read-system": lambda store: store.get_messages("s", limit=1, keep_system=True, user_id=EVE),
    "read-before": lambda store: store.get_messages("s", before="m1", user_id=EVE),
    "read-before-unknown": lambda store: store.get_messages("s", before="nope", user_id=EVE),
    "read-after": lambda store: store.get_messages("s", after="m1", user_id=EVE),
    "read-after-unknown": lambda store: store.get_messages("s", after="nope", user_id=EVE),
    "read-on": lambda store: store.get_messages("s", after="", limit=1, user_id=EVE),
    "append-one": lambda store: store.append_message("s", said("x"), user_id=EVE),
    "append": lambda store: store.append_messages("s", [said("x"), said("y")], user_id=EVE),
    "append-held": lambda store: store.append_messages("s", [said("x", "m1")], user_id=EVE),
    "append-nothing": lambda store: store.append_messages("s", [], user_id=EVE),
    "append-expected": lambda store: store.append_messages(
        "s", [said("x")], user_id=EVE, expected_version=1
    ),
    "append-conflict": lambda store: store.append_messages(
        "s", [said("x")], user_id=EVE, expected_version=9
    ),
    "replace": lambda store: store.replace_message("s", said("x", "m1"), user_id=EVE),
    "replace-unknown": lambda store: store.replace_message("s", said("x", "nope"), user_id=EVE),
    "remove": lambda store: store.delete_messages("s", ["m1"], user_id=EVE),
    "remove-unknown": lambda store: store.delete_messages("s", ["nope"], user_id=EVE),
    "remove-nothing": lambda store: store.delete_messages("s", [], user_id=EVE),
    "remove-expected": lambda store: store.delete_messages(
        "s", ["m1"], user_id=EVE, expected_version=1
    ),
    "remove-conflict": lambda store: store.delete_messages(
        "s", ["m1"], user_id=EVE, expected_version=9
    ),
    "rewind": lambda store: store.rewind("s", to="m0", user_id=EVE),
    "rewind-unknown": lambda store: store.rewind("s", to="nope", user_id=EVE),
    "rewind-all": lambda store: store.rewind("s", to=None, user_id=EVE),
    "rewind-conflict": lambda store: store.rewind("s", to="m0", user_id=EVE, expected_version=9),
    "update": lambda store: store.update("s", messages=[], metadata={"a": 1}, user_id=EVE),
    "update-conflict": lambda store: store.update(
        "s", messages=[], user_id=EVE, expected_version=9
    ),
    "fork": lambda store: store.fork("s", "t", user_id=EVE),
    "fork-unknown": lambda store: store.fork("s", "t", at="nope", user_id=EVE),
    "fork-itself": lambda store: store.fork("s", "s", user_id=EVE),
    "delete": lambda store: store.delete("s", user_id=EVE),
}


class OwnershipContract(StoreSuite):
    """With a user given, a session of another owner is closed: guarantee 4."""

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    def test_another_user_is_refused(
        self, store: SessionStore, call: Callable[[SessionStore], Any]
    ) -> None:
        """Every method raises, whatever else is wrong with the call, and nothing is written."""
        before = store.create(
            "s", agent_id="guide", user_id="alice", messages=conversation(3), metadata={"t": "Trip"}
        )
        with pytest.raises(SessionAccessError) as caught:
            call(store)
        assert stored(store, "s") == before
        shown = f"{caught.value!r} {caught.value.__cause__!r}"
        assert not any(word in shown for word in ("alice", "guide", "text", "Trip", "m0"))

    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
    def test_the_error_is_the_same_for_all_sessions(
        self, store: SessionStore, call: Callable[[SessionStore], Any]
    ) -> None:
        """It is the same for every session: it reveals nothing."""
        shown = set()
        for owner, count in (("alice", 0), ("bob", 3), ("eve ", 1)):
            store.create("s", agent_id=owner, user_id=owner, messages=conversation(count))
            with pytest.raises(SessionAccessError) as caught:
                call(store)
            shown.add(str(caught.value))
            store.delete("s")
        assert len(shown) == 1

    def test_the_owner_may_do_all(self, store: SessionStore) -> None:
        """Every method works for the owner."""
        store.create("s", user_id="alice", messages=conversation(2))
        assert store.append_messages("s", conversation(3), user_id="alice") == 1
        store.replace_message("s", said("better", "m0"), user_id="alice")
        assert store.update("s", metadata={"a": 1}, user_id="alice").user_id == "alice"
        assert len(store.get_messages("s", user_id="alice")) == 3
        assert store.delete_messages("s", ["m1"], user_id="alice") == ["m1"]
        assert store.get("s", user_id="alice") == store.get("s")
        with pytest.raises(SessionExistsError):
            store.create("s", user_id="alice")
        assert store.delete("s", user_id="alice") is True

    def test_a_caller_without_a_user_is_trusted(self, store: SessionStore) -> None:
        """Nothing is checked, and the owner stays."""
        store.create("s", user_id="alice", messages=conversation(2))
        store.append_message("s", said("more"))
        store.replace_message("s", said("better", "m0"))
        store.update("s", metadata={"a": 1})
        assert stored(store, "s").user_id == "alice"
        with pytest.raises(SessionAccessError):
            store.get("s", user_id=EVE)
        assert store.delete("s") is True

    def test_the_first_append_sets_the_owner(self, store: SessionStore) -> None:
        """From then on the session is closed to others."""
        store.append_messages("s", conversation(1), user_id="alice")
        with pytest.raises(SessionAccessError):
            store.append_messages("s", [said("x")], user_id=EVE)
        assert stored(store, "s").user_id == "alice"

    def test_a_session_without_an_owner_stays_open(self, store: SessionStore) -> None:
        """Every caller may use it, and none becomes its owner."""
        store.create("s", messages=conversation(1))
        for user in ("alice", EVE):
            store.append_message("s", said(user), user_id=user)
            store.replace_message("s", said(user, "m0"), user_id=user)
            store.update("s", metadata={"by": user}, user_id=user)
            assert store.delete_messages("s", ["nope"], user_id=user) == []
            assert len(store.get_messages("s", user_id=user)) >= 2
            assert stored(store, "s").user_id is None
        assert store.list_sessions(user_id="alice").sessions == []
        assert store.delete("s", user_id=EVE) is True

    def test_racing_users_have_one_owner(self, stores: Stores) -> None:
        """Of users who begin one session at once, one owns it, and no other writes a word."""
        store = stores.open()
        for session_id in ("a", "b", "c", "d", "e"):
            begin = [
                partial(store.append_message, session_id, said(user), user_id=user)
                for user in ("alice", "bob", EVE, "mallory")
            ]
            stores.at_once(*(partial(attempt, call, SessionAccessError) for call in begin))
            session = stored(store, session_id)
            assert contents(session.messages) == [session.user_id]

    def test_a_user_lists_only_what_is_theirs(self, store: SessionStore) -> None:
        """Another's sessions don't show, nor do open ones."""
        for owner in ("alice", EVE, None):
            store.create(f"of {owner}", user_id=owner)
        assert [info.id for info in store.list_sessions(user_id=EVE).sessions] == ["of eve"]

    def test_no_session_belongs_to_nobody(self, store: SessionStore) -> None:
        """A missing session is missing for every user."""
        assert store.get("s", user_id=EVE) is None
        assert store.get_messages("s", user_id=EVE) == []
        assert store.delete_messages("s", ["m0"], user_id=EVE) == []
        assert store.delete("s", user_id=EVE) is False

    def test_a_deleted_session_has_no_owner(self, store: SessionStore) -> None:
        """Its id is free for another user."""
        store.create("s", user_id="alice")
        store.delete("s", user_id="alice")
        assert store.create("s", user_id=EVE).user_id == EVE
