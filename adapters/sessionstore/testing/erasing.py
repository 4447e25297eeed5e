"""Erasure: all of one user is gone, and nothing of anybody else."""

from __future__ import annotations

import pytest

from sessionstore.errors import SessionLeasedError
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite
from sessionstore.testing.samples import NASTY_IDS, conversation, ids, said
from sessionstore.transfer import ErasureReceipt, aerase_user, erase_user

__all__ = ["ErasureContract"]

_MORE_THAN_A_PAGE = 120


class ErasureContract(StoreSuite):
    """`sessionstore.transfer.erase_user` finds all that a store holds of a user."""

    @staticmethod
    def erased(stores: Stores, store: SessionStore, user_id: str) -> ErasureReceipt:
        """Erase a user."""
        return stores.call(erase_user, aerase_user, store, user_id)

    def test_a_user_is_erased_and_no_other(self, stores: Stores, store: SessionStore) -> None:
        """However many sessions there are, and however alike their names; and once."""
        for number in range(_MORE_THAN_A_PAGE):
            store.append_message(f"alice-{number}", said("x"), user_id="alice")
        others = {"alice-": "bob", "alice": "alice2", "alice-1 ": "Alice", "open": None}
        for session_id, user_id in others.items():
            store.create(session_id, user_id=user_id, messages=conversation(2))
        receipt = self.erased(stores, store, "alice")
        assert (receipt.user_id, receipt.sessions, receipt.messages) == ("alice", 120, 120)
        assert store.list_sessions(user_id="alice").sessions == []
        for session_id in others:
            assert ids(store.get_messages(session_id)) == ["m0", "m1"]
        again = self.erased(stores, store, "alice")
        assert (again.sessions, again.messages) == (0, 0)

    def test_a_user_of_any_name_is_erased(self, stores: Stores, store: SessionStore) -> None:
        """And of no session by such a name anything is left."""
        users = [*NASTY_IDS[:12], *NASTY_IDS[-3:]]
        for user_id in users:
            store.create(user_id, user_id=user_id)
        for user_id in users[::2]:
            assert self.erased(stores, store, user_id).sessions == 1
        left = {info.id for info in store.list_sessions(limit=100).sessions}
        assert left == set(users[1::2])

    def test_a_turn_that_runs_saves_nothing_more(self, stores: Stores, store: SessionStore) -> None:
        """Its lease is gone with the session."""
        self.require_support("leases")
        store.create("s", user_id="alice")
        with store.lease("s") as lease, store.lease("t") as others:
            self.erased(stores, store, "alice")
            with pytest.raises(SessionLeasedError):
                store.append_message("s", said("late"), user_id="alice", lease=lease)
            assert store.append_message("t", said("in time"), lease=others) == 1
        assert store.get("s") is None

    def test_the_receipt_quotes_nobody(self, stores: Stores, store: SessionStore) -> None:
        """Neither as text nor as JSON: no name of a session, no title, no word."""
        store.create("CANARY", user_id="alice", metadata={"title": "CANARY"})
        store.append_message("CANARY", said("CANARY"))
        receipt = self.erased(stores, store, "alice")
        for text in (str(receipt), repr(receipt), receipt.json()):
            assert "alice" in text
            assert "CANARY" not in text
