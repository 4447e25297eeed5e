"""Expired is gone: what was not written to for long enough is never returned."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from sessionstore.errors import InvalidMessageError, SessionConflictError, SessionNotFoundError
from sessionstore.models import SessionInfo
from sessionstore.operations import Get, Restore
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite
from sessionstore.testing.restoring import as_it_was
from sessionstore.testing.samples import conversation, ids, said, stored
from sessionstore.testing.waiting import wait_until

__all__ = ["ExpiryContract"]

_SOON = 0.2  # seconds


class ExpiryContract(StoreSuite):
    """Guarantee 8, and `prune_expired`."""

    prunes = True
    """Whether `prune_expired` has something to do; false where the backend does it by itself."""

    def expiring(self, seconds: float) -> dict[str, Any]:
        """Give the options of ``open_store`` for sessions that expire.

        Args:
            seconds: How long after its last write a session is gone.

        Returns:
            The options; a subclass whose store has others than ``retention_days`` says so here.
        """
        return {"retention_days": seconds / 86_400}

    @pytest.fixture(autouse=True)
    def _only_where_sessions_expire(self) -> None:
        self.require_support("expiry")

    @pytest.fixture
    def expired(self, stores: Stores) -> SessionStore:
        """Give a store with an expired session ``s``, which nobody has asked for since."""
        return self._with_an_expired_one(stores, _SOON)

    def _with_an_expired_one(self, stores: Stores, seconds: float) -> SessionStore:
        store = stores.open(**self.expiring(seconds))
        store.create(
            "s", agent_id="a", user_id="alice", messages=conversation(3), metadata={"a": 1}
        )
        store.create("later")
        wait_until(lambda: store.get("later") is None)
        return store

    def _in_time(self, stores: Stores, look: Callable[[SessionStore], None]) -> None:
        """Look at a store with an expired session, and at new ones while they are there.

        On a busy machine they may be gone too soon: then look again, where they stay for longer.
        """
        for seconds in (_SOON, 10 * _SOON, 100 * _SOON):
            store = self._with_an_expired_one(stores, seconds)
            began = time.monotonic()
            try:
                return look(store)
            except (AssertionError, pytest.fail.Exception):
                if time.monotonic() - began < seconds:
                    raise
            keeps_all = stores.open()
            for info in keeps_all.list_sessions().sessions:
                keeps_all.delete(info.id)
        raise AssertionError("the machine is too busy to see what expires")

    def test_an_expired_session_is_not_forked(self, stores: Stores) -> None:
        """It is gone, and its id is free for a fork, which lives as long as any session."""

        def look(store: SessionStore) -> None:
            for user in (None, "alice", "eve"):
                with pytest.raises(SessionNotFoundError):
                    store.fork("s", "t", at="m1", user_id=user)
            store.create("new", user_id="eve", messages=conversation(2))
            assert store.fork("new", "s", user_id="eve").user_id == "eve"
            assert ids(store.get_messages("s")) == ["m0", "m1"]
            wait_until(lambda: store.get("s") is None)
            assert store.get_messages("s") == []

        self._in_time(stores, look)

    def test_what_is_restored_expires_as_it_would_have(self, stores: Stores) -> None:
        """By its last write: too old a session is not restored, nor is it gone on with."""
        minute = 60.0
        store = stores.open(**self.expiring(minute))

        def restored(age: float, version: int | None = None) -> SessionInfo | None:
            at = datetime.now(timezone.utc) - timedelta(seconds=age)
            given = as_it_was("s", conversation(2), created_at=at, updated_at=at)
            return store.run(Restore(given, expected_version=version))

        assert restored(2 * minute) is None
        assert store.get("s") is None
        assert store.list_sessions().sessions == []
        assert store.run([Restore(as_it_was("s", [])), Get("s")]) == [None, None]
        assert restored(0) is not None
        assert restored(2 * minute, 1) is None
        assert stored(store, "s").version == 1
        began = time.monotonic()
        assert restored(minute - 0.5, 1) is not None
        wait_until(lambda: store.get("s") is None)
        assert time.monotonic() - began < minute

    def test_an_expired_session_is_not_read(self, expired: SessionStore) -> None:
        """By anyone, its owner included."""
        assert expired.get("s") is None
        assert expired.get("s", user_id="eve") is None
        assert expired.get_messages("s", limit=1, keep_system=True) == []
        assert expired.get_messages("s", before="m1", user_id="eve") == []
        assert expired.get_messages("s", after="m1", user_id="eve") == []

    def test_an_expired_sessions_messages_are_not_read(self, expired: SessionStore) -> None:
        """Nor are they when they are asked for first."""
        assert expired.get_messages("s") == []

    def test_an_expired_session_is_not_listed(self, stores: Stores) -> None:
        """By no filter; and a page has no holes."""
        scopes: list[dict[str, Any]] = [{}, {"agent_id": "a"}, {"user_id": "alice"}]
        scopes += [{"last": 1}, {"updated_after": datetime(2000, 1, 1, tzinfo=timezone.utc)}]

        def look(store: SessionStore) -> None:
            for number in range(3):
                store.create(f"live {number}", agent_id="a", user_id="alice")
            for scope in scopes:
                page = store.list_sessions(limit=3, **scope)
                assert [info.id for info in page.sessions] == ["live 2", "live 1", "live 0"]
                assert page.cursor is None

        self._in_time(stores, look)

    def test_an_expired_session_is_not_deleted(self, expired: SessionStore) -> None:
        """It is not there any more."""
        assert expired.delete("s", user_id="eve") is False

    def test_an_expired_session_is_not_updated(self, expired: SessionStore) -> None:
        """There is none to update."""
        with pytest.raises(SessionNotFoundError):
            expired.update("s", metadata={"b": 1}, user_id="eve")
        assert expired.get("s") is None

    def test_an_expired_sessions_messages_are_not_replaced(self, expired: SessionStore) -> None:
        """There are none to replace."""
        with pytest.raises(SessionNotFoundError):
            expired.replace_message("s", said("x", "m0"), user_id="eve")
        assert expired.get("s") is None

    def test_an_expired_sessions_messages_are_not_deleted(self, expired: SessionStore) -> None:
        """There are none to delete, and no caller gets an id."""
        assert expired.delete_messages("s", ["m0"], user_id="eve") == []
        assert expired.delete_messages("s", ["m0"], expected_version=0) == []
        with pytest.raises(SessionConflictError):
            expired.delete_messages("s", ["m0"], expected_version=1)
        assert expired.get("s") is None

    def test_create_replaces_an_expired_session(self, stores: Stores) -> None:
        """Its id is free, and the new session has nothing of the old one."""

        def look(store: SessionStore) -> None:
            made = store.create("s", user_id="eve")
            assert (made.version, made.messages, made.metadata) == (1, [], {})
            assert store.get("s", user_id="eve") == made

        self._in_time(stores, look)

    def test_append_replaces_an_expired_session(self, stores: Stores) -> None:
        """The ids that the old session held are new again."""

        def look(store: SessionStore) -> None:
            assert store.append_messages("s", conversation(2), agent_id="b", user_id="eve") == 2
            session = stored(store, "s")
            assert ids(session.messages) == ["m0", "m1"]
            assert (session.agent_id, session.user_id, session.version) == ("b", "eve", 1)
            assert session.metadata == {}
            with pytest.raises(InvalidMessageError):
                store.get_messages("s", before="m2")

        self._in_time(stores, look)

    def test_an_expired_session_is_at_version_0(self, expired: SessionStore) -> None:
        """A writer who has seen it gets a conflict."""
        with pytest.raises(SessionConflictError):
            expired.append_messages("s", conversation(1), expected_version=1)
        assert expired.append_messages("s", conversation(1), expected_version=0) == 1

    def test_prune_deletes_what_is_expired(self, stores: Stores) -> None:
        """All of it, however much, once."""
        store = stores.open(**self.expiring(0.2))
        for number in range(250):
            store.append_message(str(number), said("x"))
        wait_until(lambda: store.list_sessions().sessions == [])
        assert store.prune_expired() == (250 if self.prunes else 0)
        assert store.prune_expired() == 0
        assert store.list_sessions().sessions == []

    def test_prune_leaves_what_is_live(self, stores: Stores) -> None:
        """A store that keeps sessions for longer prunes none of them."""
        store = stores.open(**self.expiring(3600))
        store.create("s", messages=conversation(2))
        assert store.prune_expired() == 0
        assert ids(store.get_messages("s")) == ["m0", "m1"]

    def test_prune_without_a_retention_deletes_nothing(self, store: SessionStore) -> None:
        """There is nothing to prune."""
        store.create("s", messages=conversation(2))
        assert store.prune_expired() == 0
        assert ids(store.get_messages("s")) == ["m0", "m1"]

    def test_a_write_keeps_a_session(self, stores: Stores) -> None:
        """What counts is the last write to its messages, not when the session was made."""
        store = stores.open(**self.expiring(1.0))
        for session_id in ("appended", "updated", "replaced", "left"):
            store.create(session_id, messages=[said("first", "m")])

        def only_the_others_are_written() -> bool:
            store.append_message("appended", said("more"))
            store.update("updated", messages=[said("first", "m")], metadata={"a": 1})
            store.replace_message("replaced", said("again", "m"))
            return store.get("left") is None

        wait_until(only_the_others_are_written)
        for session_id in ("appended", "updated", "replaced"):
            assert stored(store, session_id).messages[0].id == "m"

    def test_metadata_alone_does_not_keep_a_session(self, stores: Stores) -> None:
        """However often it gets another title, it goes when it would have gone."""
        store = stores.open(**self.expiring(0.5))
        store.create("s", messages=conversation(2))

        def is_gone() -> bool:
            try:
                store.update("s", metadata={"title": "T"})
            except SessionNotFoundError:
                return True
            return False

        wait_until(is_gone)
        assert store.list_sessions().sessions == []

    def test_a_read_does_not_keep_a_session(self, stores: Stores) -> None:
        """However often it is read, it goes."""
        store = stores.open(**self.expiring(0.3))
        store.create("s", messages=conversation(2))
        wait_until(lambda: store.get("s", limit=1) is None and store.get_messages("s") == [])
