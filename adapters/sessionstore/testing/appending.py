"""Appending messages, and replacing one."""

from __future__ import annotations

import pytest

from sessionstore.errors import InvalidMessageError, SessionNotFoundError
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said, stored

__all__ = ["AppendContract"]


class AppendContract(StoreSuite):
    """Messages are appended in order, each id once, and replaced in their place."""

    def test_append_makes_the_session(self, store: SessionStore) -> None:
        """A session that is not there is made, with the agent and the owner given."""
        log = conversation(2)
        assert store.append_messages("s", log, agent_id="guide", user_id="u") == 2
        session = stored(store, "s")
        assert (session.agent_id, session.user_id, session.metadata) == ("guide", "u", {})
        assert session.messages == log

    def test_append_leaves_the_sessions_agent(self, store: SessionStore) -> None:
        """The agent and the metadata are those that the session was made with."""
        store.create("s", agent_id="guide", metadata={"a": 1})
        store.append_messages("s", conversation(1), agent_id="other")
        session = stored(store, "s")
        assert (session.agent_id, session.metadata) == ("guide", {"a": 1})

    def test_append_keeps_the_order(self, store: SessionStore) -> None:
        """Batch after batch, whatever the ids and the messages' own times say."""
        old, new = conversation(2), [said("z", "0"), said("y", "A"), said("x", "z"), said("w", "a")]
        store.append_messages("s", new)
        store.append_messages("s", old)
        assert store.get_messages("s") == [*new, *old]

    def test_append_message_adds_one(self, store: SessionStore) -> None:
        """`append_message` is `append_messages` of one."""
        message = said("hello", "m")
        assert store.append_message("s", message, agent_id="guide", user_id="u") == 1
        assert store.append_message("s", message) == 0
        session = stored(store, "s")
        assert (session.agent_id, session.user_id) == ("guide", "u")
        assert session.messages == [message]

    def test_append_of_nothing_makes_no_session(self, store: SessionStore) -> None:
        """An empty batch makes no session, and changes none."""
        assert store.append_messages("s", []) == 0
        assert store.get("s") is None
        before = store.create("s", messages=conversation(1))
        assert store.append_messages("s", iter(())) == 0
        assert store.get("s") == before

    def test_append_gives_ids_to_messages(self, store: SessionStore) -> None:
        """A message without an id is given one; the caller's object is not touched."""
        message = said("hello")
        assert store.append_messages("s", [message, message]) == 2
        assert store.append_message("s", message) == 1
        assert message.id is None
        found = ids(store.get_messages("s"))
        assert None not in found
        assert len(set(found)) == 3

    def test_append_twice_adds_once(self, store: SessionStore) -> None:
        """A retry adds nothing and changes nothing: guarantee 2."""
        log = conversation(3)
        store.append_messages("s", log)
        before = stored(store, "s")
        assert store.append_messages("s", log) == 0
        assert stored(store, "s") == before

    def test_append_of_a_held_id_changes_nothing(self, store: SessionStore) -> None:
        """The first message of an id counts, also against another one."""
        store.append_message("s", said("first", "m"))
        assert store.append_message("s", SessionMessage("assistant", "second", id="m")) == 0
        assert contents(store.get_messages("s")) == ["first"]

    def test_append_of_a_whole_history_adds_what_is_new(self, store: SessionStore) -> None:
        """An agent that hands back all it was given adds only what is new, in order."""
        log = conversation(8)
        assert store.append_messages("s", log[:3]) == 3
        assert store.append_messages("s", log[:6]) == 3
        assert store.append_messages("s", log[4:]) == 2
        assert store.get_messages("s") == log

    def test_append_keeps_the_first_of_two_messages_with_one_id(self, store: SessionStore) -> None:
        """Of two with the same id the first counts."""
        batch = [said("a", "m"), said("b", "n"), said("c", "m"), said("d", "o")]
        assert store.append_messages("s", batch) == 3
        assert contents(store.get_messages("s")) == ["a", "b", "d"]

    def test_two_sessions_may_hold_the_same_message_id(self, store: SessionStore) -> None:
        """Another session may hold a message with the same id."""
        assert store.append_message("s", said("here", "m")) == 1
        assert store.append_message("t", said("there", "m")) == 1
        assert contents(store.get_messages("s")) == ["here"]
        assert contents(store.get_messages("t")) == ["there"]

    def test_append_takes_any_iterable(self, store: SessionStore) -> None:
        """A generator is read once."""
        assert store.append_messages("s", (message for message in conversation(3))) == 3
        assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]

    def test_append_refuses_a_single_message_as_a_batch(self, store: SessionStore) -> None:
        """Forgotten brackets are an error."""
        with pytest.raises(InvalidMessageError):
            store.append_messages("s", said("hello"))  # type: ignore[arg-type]
        assert store.get("s") is None

    def test_replace_swaps_in_place(self, store: SessionStore) -> None:
        """The new message stands where the old one stood, and the others stay."""
        log = conversation(3)
        store.append_messages("s", log)
        new = SessionMessage("assistant", "better", id="m1", metadata={"edited": True})
        store.replace_message("s", new)
        assert store.get_messages("s") == [log[0], new, log[2]]
        assert store.get_messages("s", limit=2) == [new, log[2]]
        assert store.list_sessions().sessions[0].message_count == 3

    def test_append_of_a_replaced_id_adds_nothing(self, store: SessionStore) -> None:
        """Appending the old message once more does not bring it back."""
        store.append_messages("s", conversation(2))
        store.replace_message("s", said("better", "m0"))
        assert store.append_messages("s", conversation(2)) == 0
        assert contents(store.get_messages("s")) == ["better", "text 1"]

    def test_replace_of_a_missing_message_is_refused(self, store: SessionStore) -> None:
        """No session, or no such message in it: it raises, and nothing changes."""
        with pytest.raises(SessionNotFoundError):
            store.replace_message("s", said("better", "m0"))
        assert store.get("s") is None
        before = store.create("s", messages=conversation(2))
        store.create("t", messages=conversation(6))
        with pytest.raises(SessionNotFoundError):
            store.replace_message("s", said("better", "m5"))
        assert store.get("s") == before

    def test_replace_needs_an_id(self, store: SessionStore) -> None:
        """A message without an id replaces none."""
        before = store.create("s", messages=conversation(2))
        with pytest.raises(InvalidMessageError):
            store.replace_message("s", said("better"))
        assert store.get("s") == before
