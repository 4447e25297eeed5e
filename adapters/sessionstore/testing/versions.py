"""Versions: how they count, and compare and append."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from sessionstore.errors import InvalidSessionError, SessionConflictError, SessionStoreError
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite, attempt
from sessionstore.testing.samples import contents, conversation, ids, said, stored

__all__ = ["VersionContract"]


class VersionContract(StoreSuite):
    """Each write counts one, and a writer may insist on the version that it has seen."""

    def test_each_write_counts_one(self, store: SessionStore) -> None:
        """A version is 1 when the session is made, and one more with each write."""
        assert store.create("s", messages=conversation(2)).version == 1
        store.append_messages("s", [said("a", "x"), said("b", "y")])
        assert stored(store, "s").version == 2
        store.replace_message("s", said("c", "x"))
        assert stored(store, "s").version == 3
        assert store.update("s", metadata={"a": 1}).version == 4
        assert store.update("s", messages=conversation(1), metadata={"a": 2}).version == 5
        assert stored(store, "s").version == 5

    def test_append_makes_version_1(self, store: SessionStore) -> None:
        """It is no other than `create` makes it."""
        store.append_messages("s", conversation(2))
        assert stored(store, "s").version == 1

    def test_what_adds_nothing_counts_nothing(self, store: SessionStore) -> None:
        """An append of what is held leaves the version."""
        store.append_messages("s", conversation(2))
        store.append_messages("s", conversation(2))
        store.append_messages("s", [])
        assert stored(store, "s").version == 1

    def test_append_expects_a_version(self, store: SessionStore) -> None:
        """It goes through, one batch after the other."""
        log = conversation(4)
        assert store.append_messages("s", log[:2], expected_version=0) == 2
        assert store.append_message("s", log[2], expected_version=1) == 1
        assert store.append_messages("s", log[3:], expected_version=2) == 1
        assert store.get_messages("s") == log

    def test_update_expects_a_version(self, store: SessionStore) -> None:
        """It goes through."""
        store.create("s", messages=conversation(2))
        assert store.update("s", metadata={"a": 1}, expected_version=1).version == 2
        assert store.update("s", messages=[], expected_version=2).version == 3

    @pytest.mark.parametrize("seen", [0, 1, 3, 10**30])
    def test_another_version_writes_nothing(self, store: SessionStore, seen: int) -> None:
        """A conflict leaves the session as it was: guarantee 5."""
        store.create("s", messages=conversation(1))
        store.append_message("s", said("more"))
        before = stored(store, "s")
        with pytest.raises(SessionConflictError):
            store.append_messages("s", [said("late")], expected_version=seen)
        with pytest.raises(SessionConflictError):
            store.append_message("s", said("late"), expected_version=seen)
        with pytest.raises(SessionConflictError):
            store.update("s", messages=[], metadata={"a": 1}, expected_version=seen)
        assert stored(store, "s") == before

    def test_a_conflict_is_raised_even_if_nothing_would_be_added(self, store: SessionStore) -> None:
        """A batch that would add nothing is checked as well, an empty one too."""
        store.append_messages("s", conversation(1))
        for batch in (conversation(1), []):
            with pytest.raises(SessionConflictError):
                store.append_messages("s", batch, expected_version=2)

    def test_a_missing_session_is_at_version_0(self, store: SessionStore) -> None:
        """A session that is not there is at version 0, and no other makes it."""
        for seen in (1, 2):
            with pytest.raises(SessionConflictError):
                store.append_messages("s", conversation(1), expected_version=seen)
        assert store.get("s") is None
        store.create("s")
        store.delete("s")
        with pytest.raises(SessionConflictError):
            store.append_messages("s", conversation(1), expected_version=1)
        assert store.append_messages("s", conversation(1), expected_version=0) == 1

    @pytest.mark.parametrize("version", [-1, 1.0, "1", True], ids=repr)
    def test_an_invalid_version_is_refused(self, store: SessionStore, version: Any) -> None:
        """A version is a whole number of 0 or more."""
        before = store.create("s")
        with pytest.raises(InvalidSessionError):
            store.append_messages("s", conversation(1), expected_version=version)
        with pytest.raises(InvalidSessionError):
            store.update("s", metadata={"a": 1}, expected_version=version)
        assert store.get("s") == before

    def test_racing_appends_at_one_version_have_one_winner(self, stores: Stores) -> None:
        """Of writers that saw one version, exactly one goes on; the others get an error."""
        store = stores.open()
        for seen in range(5):
            race = [
                partial(
                    attempt,
                    partial(
                        store.append_messages,
                        "s",
                        [said(f"{seen}: {racer}")],
                        expected_version=seen,
                    ),
                    SessionConflictError,
                )
                for racer in range(6)
            ]
            outcomes = stores.at_once(*race)
            assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [1]
        assert [text[:2] for text in contents(store.get_messages("s"))] == [
            f"{seen}:" for seen in range(5)
        ]

    def test_retried_conflicts_lose_no_update(self, stores: Stores) -> None:
        """Writers that read, add one and try again lose no step."""
        store = stores.open()
        store.create("s", metadata={"count": 0})

        def count_up() -> None:
            for _ in range(5):
                while not isinstance(attempt(step, SessionConflictError), int):
                    pass

        def step() -> int:
            session = stored(store, "s")
            count = session.metadata["count"] + 1
            return store.update(
                "s", metadata={"count": count}, expected_version=session.version
            ).version

        stores.at_once(*[count_up] * 4)
        assert stored(store, "s").metadata == {"count": 20}
        assert stored(store, "s").version == 21

    def test_a_retried_compare_and_append_conflicts(self, store: SessionStore) -> None:
        """After a lost answer the retry conflicts, and the message is there once."""
        store.append_messages("s", conversation(1), expected_version=0)
        with pytest.raises(SessionStoreError):
            store.append_messages("s", conversation(1), expected_version=0)
        assert ids(store.get_messages("s")) == ["m0"]
