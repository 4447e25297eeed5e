"""Deleting some of a session's messages."""

from __future__ import annotations

from functools import partial
from itertools import chain
from typing import Any

import pytest

from sessionstore.errors import InvalidMessageError, InvalidSessionError, SessionConflictError
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.modes import Stores, StoreSuite
from sessionstore.testing.samples import BAD_IDS, NASTY_IDS, conversation, ids, said, stored

__all__ = ["DeleteMessagesContract"]


def without(log: list[SessionMessage], *gone: str) -> list[SessionMessage]:
    """Give the messages but those."""
    return [message for message in log if message.id not in gone]


class DeleteMessagesContract(StoreSuite):
    """`delete_messages` takes messages out, once each, and leaves the rest as it was."""

    @pytest.mark.parametrize(
        "gone",
        [
            ["m0"],
            ["m7"],
            ["m3"],
            ["m4"],
            ["m0", "m1", "m2"],
            ["m5", "m6", "m7"],
            ["m1", "m3", "m4", "m6"],
            ["m0", "m2", "m5", "m7"],
            ["m0", "m1", "m3", "m7"],
            [f"m{number}" for number in range(7)],
        ],
        ids="-".join,
    )
    def test_delete_messages_keeps_the_other_messages(
        self, store: SessionStore, gone: list[str]
    ) -> None:
        """In order, and every way of reading it goes on from there."""
        log = conversation(8)
        store.append_messages("s", log)
        store.append_messages("t", log)
        assert store.delete_messages("s", gone[::-1]) == gone
        rest = without(log, *gone)
        self.require_log(store, rest)
        assert store.append_messages("s", log) == len(gone)
        rest += [message for message in log if message.id in gone]
        self.require_log(store, rest)
        store.replace_message("s", said("better", "m4"))
        rest = [said("better", "m4") if m.id == "m4" else m for m in rest]
        assert [m.content for m in store.get_messages("s")] == [m.content for m in rest]
        assert store.get_messages("t") == log

    def require_log(self, store: SessionStore, log: list[SessionMessage]) -> None:
        """Check what every read gives of the session."""
        session = stored(store, "s")
        assert session.messages == log == store.get_messages("s")
        assert session.message_count == len(log)
        for limit in (0, 1, 3):
            assert store.get_messages("s", limit=limit) == log[len(log) - min(limit, len(log)) :]
            assert store.get_messages("s", after="", limit=limit) == log[:limit]
        for place, message in enumerate(log):
            assert store.get_messages("s", before=message.id) == log[:place]
            assert store.get_messages("s", before=message.id, limit=2) == log[:place][-2:]
            assert store.get_messages("s", after=message.id, limit=2) == log[place + 1 :][:2]

    def test_messages_are_deleted_one_after_the_other(self, store: SessionStore) -> None:
        """Piece by piece, from the middle to both ends, and then new ones."""
        log = conversation(9)
        store.append_messages("s", log)
        gone: list[str] = []
        for some in (["m4"], ["m3", "m5"], ["m1"], ["m7"], ["m0"], ["m8"], ["m6"], ["m2"]):
            assert store.delete_messages("s", some) == some
            gone += some
            self.require_log(store, without(log, *gone))
        assert store.append_messages("s", log) == 9
        self.require_log(store, log)

    def test_a_session_without_messages_stays(self, store: SessionStore) -> None:
        """With its owner and metadata, and goes on counting."""
        store.create(
            "s", agent_id="guide", user_id="u", messages=conversation(3), metadata={"a": 1}
        )
        assert store.delete_messages("s", ["m2", "m0", "m1"]) == ["m0", "m1", "m2"]
        session = stored(store, "s")
        assert (session.agent_id, session.user_id, session.metadata) == ("guide", "u", {"a": 1})
        assert (session.version, session.message_count, session.messages) == (2, 0, [])
        assert [info.id for info in store.list_sessions(user_id="u").sessions] == ["s"]
        assert store.get_messages("s", limit=2, keep_system=True) == []
        log = conversation(2)
        assert store.append_messages("s", log) == 2
        self.require_log(store, log)

    def test_a_deleted_message_is_new_again(self, store: SessionStore) -> None:
        """Its id is free, its place is at the end, and nothing can be done to it before."""
        log = conversation(4)
        store.append_messages("s", log)
        store.delete_messages("s", ["m1"])
        for name in ("before", "after"):
            with pytest.raises(InvalidMessageError):
                store.get_messages("s", **{name: "m1"})  # type: ignore[arg-type]
        again = said("again", "m1")
        assert store.append_messages("s", [*log, again]) == 1
        assert store.get_messages("s") == [log[0], *log[2:], log[1]]
        assert store.append_message("s", again) == 0

    def test_replaced_and_updated_messages_can_be_deleted(self, store: SessionStore) -> None:
        """What another write left is what is deleted, and what a delete left is what they get."""
        log = conversation(6)
        store.append_messages("s", log)
        store.delete_messages("s", ["m0", "m3"])
        better = said("better", "m4")
        store.replace_message("s", better)
        assert store.get_messages("s") == [log[1], log[2], better, log[5]]
        assert store.update("s", messages=log[::-1]).message_count == 6
        assert store.delete_messages("s", ["m1", "m5", "m4", "m9"]) == ["m5", "m4", "m1"]
        self.require_log(store, [log[3], log[2], log[0]])

    def test_the_system_message_can_be_deleted(self, store: SessionStore) -> None:
        """The first message is the first of those that are left."""
        one, two = SessionMessage("system", "1", id="one"), SessionMessage("system", "2", id="two")
        log = conversation(3)
        store.append_messages("s", [one, two, *log])
        store.delete_messages("s", ["one"])
        assert store.get_messages("s", limit=1, keep_system=True) == [two, log[2]]
        store.delete_messages("s", ["two"])
        assert store.get_messages("s", limit=1, keep_system=True) == [log[2]]

    def test_delete_messages_of_unknown_ids_writes_nothing(self, store: SessionStore) -> None:
        """Is passed over; alone it is no write at all."""
        before = store.create("s", messages=conversation(3))
        store.create("t", messages=conversation(6))
        for gone in ([], ["m5"], ["unknown", "M0"]):
            assert store.delete_messages("s", gone) == []
        assert store.delete_messages("none", ["m0"]) == []
        assert store.get("none") is None
        assert stored(store, "s") == before
        assert [info.id for info in store.list_sessions().sessions] == ["t", "s"]
        assert store.delete_messages("s", ["m5", "m1"]) == ["m1"]
        assert store.delete_messages("s", ["m1"]) == []

    def test_each_deletion_raises_the_version_by_one(self, store: SessionStore) -> None:
        """A version and an activity, however many messages."""
        made = store.create("s", messages=conversation(5))
        store.create("t")
        store.delete_messages("s", ["m0", "m3"])
        session = stored(store, "s")
        assert session.version == 2
        assert session.updated_at > made.updated_at
        assert [info.id for info in store.list_sessions().sessions] == ["s", "t"]
        assert store.list_sessions().sessions[0].message_count == 3

    def test_delete_messages_expects_a_version(self, store: SessionStore) -> None:
        """It goes through; at another nothing is deleted, whether or not there is something."""
        store.create("s", messages=conversation(4))
        assert store.delete_messages("s", ["m0"], expected_version=1) == ["m0"]
        before = stored(store, "s")
        for gone in (["m1"], ["m0"], []):
            for seen in (0, 1, 3, 10**30):
                with pytest.raises(SessionConflictError):
                    store.delete_messages("s", gone, expected_version=seen)
            if gone != ["m1"]:
                assert store.delete_messages("s", gone, expected_version=2) == []
        assert stored(store, "s") == before
        assert store.delete_messages("none", ["m0"], expected_version=0) == []
        with pytest.raises(SessionConflictError):
            store.delete_messages("none", ["m0"], expected_version=1)

    def test_an_id_named_twice_is_deleted_once(self, store: SessionStore) -> None:
        """Counts once, and a generator is read once."""
        store.append_messages("s", conversation(3))
        assert store.delete_messages("s", iter(["m1", "m0", "m1"])) == ["m0", "m1"]
        assert ids(store.get_messages("s")) == ["m2"]

    def test_message_ids_may_be_any_iterable(self, store: SessionStore) -> None:
        """They never meet, and come back as they were."""
        store.append_messages("s", [said(name, name) for name in NASTY_IDS])
        every_other = list(NASTY_IDS[::2])
        assert store.delete_messages("s", every_other[::-1]) == every_other
        assert ids(store.get_messages("s")) == list(NASTY_IDS[1::2])

    @pytest.mark.parametrize("bad", [*BAD_IDS, None], ids=repr)
    def test_delete_messages_refuses_an_invalid_id(self, store: SessionStore, bad: Any) -> None:
        """It is refused, and nothing is deleted."""
        before = store.create("s", messages=conversation(3))
        with pytest.raises(InvalidMessageError):
            store.delete_messages("s", ["m0", bad])
        with pytest.raises(InvalidMessageError):
            store.delete_messages("s", "m0")
        with pytest.raises(InvalidSessionError):
            store.delete_messages("", ["m0"])
        with pytest.raises(InvalidSessionError):
            store.delete_messages("s", ["m0"], expected_version=-1)
        assert stored(store, "s") == before

    def test_many_messages_are_deleted_at_once(self, store: SessionStore) -> None:
        """More than one statement of a database takes."""
        log = conversation(3000)
        store.append_messages("s", log)
        gone = [str(message.id) for message in log[::3]]
        assert store.delete_messages("s", gone) == gone
        assert store.get_messages("s") == without(log, *gone)

    def test_racing_deletes_get_each_message_once(self, stores: Stores) -> None:
        """Of callers who delete the same messages at once, each is handed to exactly one."""
        store = stores.open()
        log = [str(message.id) for message in conversation(24)]
        store.append_messages("s", conversation(24))

        def take(step: int) -> list[str]:
            taken = []
            for start in range(0, len(log), step):
                taken += store.delete_messages("s", log[start : start + 2 * step])
            return taken

        taken = stores.at_once(*(partial(take, step) for step in (1, 2, 3, 5)))
        assert sorted(chain(*taken)) == sorted(log)
        assert stored(store, "s").messages == []

    def test_archiving_while_others_append_loses_nothing(self, stores: Stores) -> None:
        """Those who read the oldest and delete it get all that others append, once, in order."""
        store = stores.open()

        def write(writer: int) -> list[str]:
            for number in range(8):
                store.append_message("s", said("x", f"{writer}-{number}"))
            return []

        def archive() -> list[str]:
            archived: list[str] = []
            for _ in range(10):
                oldest = store.get_messages("s", after="", limit=3)
                archived += store.delete_messages("s", [str(message.id) for message in oldest])
            return archived

        archived = stores.at_once(partial(write, 0), partial(write, 1), archive, archive)
        left = [str(message.id) for message in store.get_messages("s")]
        found = [*chain(*archived), *left]
        assert sorted(found) == [f"{writer}-{number}" for writer in "01" for number in range(8)]
        assert stored(store, "s").message_count == len(left)

    def test_a_message_is_found_while_others_rewrite_the_session(self, stores: Stores) -> None:
        """While others rewrite its whole session, a message that is always there is found."""
        store = stores.open()
        store.create("s", messages=conversation(40))

        def rewrite() -> list[str]:
            for _ in range(10):
                session = stored(store, "s")
                try:
                    store.update("s", messages=session.messages, expected_version=session.version)
                except SessionConflictError:
                    continue
            return []

        def take(writer: int) -> list[str]:
            gone = [f"m{number}" for number in range(writer, 40, 4)]
            return [name for each in gone for name in store.delete_messages("s", [each])]

        taken = stores.at_once(rewrite, *(partial(take, writer) for writer in range(4)))
        assert sorted(chain(*taken)) == sorted(str(m.id) for m in conversation(40))
        assert stored(store, "s").messages == []
