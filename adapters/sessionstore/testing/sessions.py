"""A session as a whole: `create`, `get`, `update` and `delete`."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from sessionstore.errors import SessionExistsError, SessionNotFoundError
from sessionstore.models import SessionInfo
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite, attempt
from sessionstore.testing.samples import conversation, ids, said, stored

__all__ = ["SessionContract"]


class SessionContract(StoreSuite):
    """A session is made, read, changed and deleted."""

    def test_create_gives_the_session_as_it_is_stored(self, store: SessionStore) -> None:
        """What `create` returns is what `get` reads."""
        log, metadata = conversation(3), {"title": "Trip", "tags": ["a", "b"]}
        made = store.create("s", agent_id="guide", user_id="u", messages=log, metadata=metadata)
        assert made == store.get("s")
        assert (made.id, made.agent_id, made.user_id) == ("s", "guide", "u")
        assert (made.messages, made.metadata, made.version) == (log, metadata, 1)

    def test_create_without_arguments(self, store: SessionStore) -> None:
        """The defaults are those of the signature, and times are in UTC."""
        made = store.create()
        assert (made.agent_id, made.user_id) == ("default", None)
        assert (made.messages, made.metadata) == ([], {})
        assert made.created_at.utcoffset() == timedelta(0)
        assert made.updated_at.utcoffset() == timedelta(0)
        assert store.get(made.id) == made

    def test_create_makes_a_new_id_each_time(self, store: SessionStore) -> None:
        """Sessions made without an id are different ones."""
        assert len({store.create().id for _ in range(20)}) == 20

    def test_create_of_a_taken_id_changes_nothing(self, store: SessionStore) -> None:
        """An id that is there raises, and the session is as it was."""
        store.create("s", messages=conversation(1), metadata={"title": "first"})
        before = stored(store, "s")
        with pytest.raises(SessionExistsError):
            store.create("s", messages=[said("again")], metadata={"title": "second"})
        assert stored(store, "s") == before

    def test_create_of_an_id_that_append_made(self, store: SessionStore) -> None:
        """A session that an append made is there for `create`."""
        store.append_messages("s", conversation(1))
        with pytest.raises(SessionExistsError):
            store.create("s")

    def test_create_keeps_the_first_of_two_messages_with_one_id(self, store: SessionStore) -> None:
        """Guarantee 2 holds within the first messages too."""
        made = store.create("s", messages=[said("first", "m"), said("second", "m")])
        assert made.messages == stored(store, "s").messages
        assert [message.content for message in made.messages] == ["first"]

    def test_create_gives_ids_to_messages(self, store: SessionStore) -> None:
        """A message without an id is given one, which is the same in the store."""
        made = store.create("s", messages=iter([said("one"), said("two")]))
        assert None not in ids(made.messages)
        assert len(set(ids(made.messages))) == 2
        assert stored(store, "s") == made

    def test_racing_creates_have_one_winner(self, stores: Stores) -> None:
        """Of callers who make one id at once, one makes it, and the others get an error."""
        store = stores.open()
        for session_id in ("a", "b", "c", "d", "e"):
            create = partial(store.create, session_id, messages=[said("mine")])
            outcomes = stores.at_once(*[partial(attempt, create, SessionExistsError)] * 6)
            [winner] = [made for made in outcomes if not isinstance(made, Exception)]
            assert stored(store, session_id) == winner

    def test_get_of_a_missing_session_gives_none(self, store: SessionStore) -> None:
        """A session that is not there reads as ``None``, and reading does not make it."""
        assert store.get("s") is None
        assert store.get("s", limit=3, user_id="u") is None
        assert store.get_messages("s") == []
        assert store.list_sessions().sessions == []

    def test_get_with_a_limit_counts_all_messages(self, store: SessionStore) -> None:
        """The last messages are read, oldest first; all else is the same."""
        whole = store.create("s", messages=conversation(5), metadata={"a": 1})
        for limit, expected in ((0, []), (1, whole.messages[4:]), (2, whole.messages[3:])):
            part = store.get("s", limit=limit)
            assert part is not None
            assert part.messages == expected
            assert (part.metadata, part.version) == (whole.metadata, whole.version)
        assert store.get("s", limit=5) == store.get("s", limit=6) == whole

    def test_update_replaces_all_messages(self, store: SessionStore) -> None:
        """The messages given are the only ones from now on; the metadata stays."""
        store.create("s", messages=conversation(4), metadata={"a": 1})
        new = [said("late", "m2"), said("new", "n")]
        store.update("s", messages=new)
        assert stored(store, "s").messages == new
        assert stored(store, "s").metadata == {"a": 1}
        assert store.append_messages("s", [said("free again", "m0"), said("held", "n")]) == 1
        assert ids(stored(store, "s").messages) == ["m2", "n", "m0"]

    def test_update_can_remove_all_messages(self, store: SessionStore) -> None:
        """An empty list takes all messages away, and the session stays."""
        store.create("s", messages=conversation(4))
        assert store.update("s", messages=[]).message_count == 0
        assert stored(store, "s").messages == []

    def test_update_keeps_the_first_of_two_messages_with_one_id(self, store: SessionStore) -> None:
        """Guarantee 2 holds within an update too."""
        store.create("s")
        info = store.update("s", messages=iter([said("first", "m"), said("second", "m")]))
        assert info.message_count == 1
        assert [message.content for message in store.get_messages("s")] == ["first"]

    def test_update_merges_metadata(self, store: SessionStore) -> None:
        """Keys are set, those given as ``None`` are removed, the others and the messages stay."""
        log = conversation(2)
        store.create("s", messages=log, metadata={"stays": 1, "goes": 2, "changes": {"x": 1}})
        store.update("s", metadata={"goes": None, "changes": {"y": 2}, "new": [None]})
        store.update("s", metadata={"was never there": None})
        session = stored(store, "s")
        assert session.metadata == {"stays": 1, "changes": {"y": 2}, "new": [None]}
        assert session.messages == log

    def test_update_does_both_in_one_step(self, store: SessionStore) -> None:
        """Messages and metadata change together, as one version, which is what is returned."""
        log = conversation(3)
        made = store.create("s", agent_id="guide", user_id="u", messages=log)
        info = store.update("s", messages=log[:1], metadata={"a": 1})
        session = stored(store, "s")
        assert info == SessionInfo(
            id="s",
            agent_id="guide",
            user_id="u",
            metadata={"a": 1},
            created_at=made.created_at,
            updated_at=session.updated_at,
            version=made.version + 1,
            message_count=1,
        )
        assert (session.version, session.messages) == (info.version, log[:1])

    def test_update_of_a_missing_session_is_refused(self, store: SessionStore) -> None:
        """It raises, and makes none."""
        with pytest.raises(SessionNotFoundError):
            store.update("s", messages=conversation(1), metadata={"a": 1})
        with pytest.raises(SessionNotFoundError):
            store.update("s", metadata={"a": 1}, expected_version=0)
        assert store.get("s") is None

    def test_delete_removes_the_session_and_its_messages(self, store: SessionStore) -> None:
        """Nothing of a deleted session is left, and its neighbour is whole."""
        store.create("s", user_id="u", messages=conversation(3), metadata={"a": 1})
        neighbour = store.create("t", messages=conversation(3))
        assert store.delete("s") is True
        assert store.get("s") is None
        assert store.get_messages("s") == []
        assert [info.id for info in store.list_sessions().sessions] == ["t"]
        assert store.get("t") == neighbour

    def test_delete_of_a_missing_session_gives_false(self, store: SessionStore) -> None:
        """There is nothing to delete, twice too."""
        assert store.delete("s") is False
        store.append_messages("s", conversation(1))
        assert store.delete("s") is True
        assert store.delete("s") is False

    def test_a_deleted_id_is_free(self, store: SessionStore) -> None:
        """A new session of the same id has nothing of the old one, not even its messages' ids."""
        store.create("s", user_id="u", messages=conversation(3), metadata={"a": 1})
        store.delete("s")
        assert store.append_messages("s", conversation(2), user_id="v") == 2
        session = stored(store, "s")
        assert (session.user_id, session.metadata, session.version) == ("v", {}, 1)
        assert ids(session.messages) == ["m0", "m1"]

    def test_times_tell_when_it_was_made_and_written(self, store: SessionStore) -> None:
        """A write moves ``updated_at`` and leaves ``created_at``; a read moves neither."""
        made = store.create("s")
        store.append_messages("s", conversation(1))
        written = stored(store, "s")
        assert written.created_at == made.created_at <= made.updated_at <= written.updated_at
        assert stored(store, "s") == written
