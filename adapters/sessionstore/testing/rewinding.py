"""Rewinding: all messages behind one are deleted in one step."""

from __future__ import annotations

import time
from functools import partial
from itertools import chain
from typing import Any

import pytest

from sessionstore.errors import (
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionNotFoundError,
)
from sessionstore.models import SessionMessage, ToolCall
from sessionstore.operations import Append, Get, GetMessages, ReplaceMessage, Rewind
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite
from sessionstore.testing.samples import BAD_IDS, NASTY_IDS, conversation, ids, said, stored
from sessionstore.testing.volume import MANY, least

__all__ = ["RewindContract", "RewindVolumeContract"]

_LONG, _SHORT, _BATCH = 20_000, 100, 10_000


class RewindContract(StoreSuite):
    """`rewind` deletes what is behind a message, and leaves the rest as it was."""

    @pytest.mark.parametrize("count", [1, 2, 4, 7, 8])
    def test_what_is_behind_a_message_is_deleted(self, store: SessionStore, count: int) -> None:
        """In order; every read goes on from there, and ids that were deleted are new again."""
        log = conversation(8)
        store.create("s", messages=log)
        store.create("t", messages=log)
        assert store.rewind("s", to=f"m{count - 1}") == ids(log[count:])
        self.require_log(store, log[:count])
        again = [log[7], *log[:7]]
        assert store.append_messages("s", again) == 8 - count
        self.require_log(store, log[:count] + [one for one in again if one in log[count:]])
        assert store.get_messages("t") == log

    def require_log(self, store: SessionStore, log: list[SessionMessage]) -> None:
        """Check what every read gives of the session."""
        session = stored(store, "s")
        assert session.messages == log == store.get_messages("s")
        assert session.message_count == len(log)
        [listed] = [info for info in store.list_sessions().sessions if info.id == "s"]
        assert (listed.message_count, listed.version) == (len(log), session.version)
        assert store.get_messages("s", limit=2) == log[-2:]
        assert store.get_messages("s", after="", limit=2) == log[:2]
        for place, message in enumerate(log):
            assert store.get_messages("s", before=message.id) == log[:place]
            assert store.get_messages("s", after=message.id, limit=2) == log[place + 1 :][:2]

    def test_all_messages_are_deleted(self, store: SessionStore) -> None:
        """The session stays, with its owner and metadata, and goes on counting."""
        log = conversation(5)
        store.create("s", agent_id="guide", user_id="u", messages=log, metadata={"a": 1})
        assert store.rewind("s", to=None) == ids(log)
        session = stored(store, "s")
        assert (session.agent_id, session.user_id, session.metadata) == ("guide", "u", {"a": 1})
        assert (session.version, session.message_count, session.messages) == (2, 0, [])
        assert store.rewind("s", to=None) == []
        assert stored(store, "s").version == 2
        assert store.append_messages("s", log[::-1], user_id="u") == 5
        assert store.get_messages("s") == log[::-1]
        assert store.rewind("s", to="m3") == ["m2", "m1", "m0"]

    def test_where_nothing_is_behind_nothing_is_written(self, store: SessionStore) -> None:
        """Neither a version nor a time."""
        before = store.create("s", messages=conversation(3))
        store.create("t")
        assert store.rewind("s", to="m2") == []
        assert store.rewind("t", to=None) == []
        assert stored(store, "s") == before
        assert [info.id for info in store.list_sessions().sessions] == ["t", "s"]

    def test_each_rewind_raises_the_version_by_one(self, store: SessionStore) -> None:
        """A version and an activity, however many messages."""
        made = store.create("s", messages=conversation(5))
        store.create("t")
        store.rewind("s", to="m1")
        session = stored(store, "s")
        assert session.version == 2
        assert session.updated_at > made.updated_at
        assert [info.id for info in store.list_sessions().sessions] == ["s", "t"]

    def test_a_rewind_of_what_is_not_there(self, store: SessionStore) -> None:
        """Without a session there is nothing to delete; a message that is named must be there."""
        assert store.rewind("none", to=None) == []
        with pytest.raises(SessionNotFoundError):
            store.rewind("none", to="m0")
        assert store.get("none") is None
        before = store.create("s", messages=conversation(3))
        store.create("t", messages=conversation(6))
        for unknown in ("m5", "M0", "nope"):
            with pytest.raises(SessionNotFoundError):
                store.rewind("s", to=unknown)
        assert stored(store, "s") == before
        store.rewind("s", to="m0")
        with pytest.raises(SessionNotFoundError):
            store.rewind("s", to="m2")

    def test_rewind_expects_a_version(self, store: SessionStore) -> None:
        """At another nothing is deleted, whether or not there is something, or the message."""
        store.create("s", messages=conversation(5))
        assert store.rewind("s", to="m3", expected_version=1) == ["m4"]
        before = stored(store, "s")
        for to in ("m1", "m3", "nope", None):
            for seen in (0, 1, 3, 10**30):
                with pytest.raises(SessionConflictError):
                    store.rewind("s", to=to, expected_version=seen)
        assert store.rewind("s", to="m3", expected_version=2) == []
        assert stored(store, "s") == before
        assert store.rewind("none", to=None, expected_version=0) == []
        for to in ("m0", None):
            with pytest.raises(SessionConflictError):
                store.rewind("none", to=to, expected_version=1)
        with pytest.raises(SessionNotFoundError):
            store.rewind("none", to="m0", expected_version=0)

    def test_another_user_can_not_rewind(self, store: SessionStore) -> None:
        """Whatever else is wrong with the call."""
        before = store.create("s", user_id="alice", messages=conversation(3))
        for to in ("m0", "m2", "nope", None):
            for seen in (None, 1, 9):
                with pytest.raises(SessionAccessError) as caught:
                    store.rewind("s", to=to, user_id="eve", expected_version=seen)
                assert "alice" not in str(caught.value)
        assert stored(store, "s") == before
        assert store.rewind("s", to="m0", user_id="alice") == ["m1", "m2"]

    @pytest.mark.parametrize("bad", BAD_IDS, ids=repr)
    def test_rewind_refuses_an_invalid_id(self, store: SessionStore, bad: Any) -> None:
        """It is refused, and nothing is deleted."""
        before = store.create("s", messages=conversation(3))
        with pytest.raises(InvalidMessageError):
            store.rewind("s", to=bad)
        with pytest.raises(InvalidSessionError):
            store.rewind("", to="m0")
        with pytest.raises(InvalidSessionError):
            store.rewind("s", to="m0", expected_version=-1)
        assert stored(store, "s") == before

    @pytest.mark.parametrize("staying", [1, len(NASTY_IDS) - 5])
    def test_any_ids_come_back_as_they_were(self, store: SessionStore, staying: int) -> None:
        """Whatever the messages hold besides, other ids and what looks like one among it."""
        log = [_nasty(place, name) for place, name in enumerate(NASTY_IDS)]
        store.create("s", messages=log)
        assert store.rewind("s", to=NASTY_IDS[staying - 1]) == list(NASTY_IDS[staying:])
        assert store.get_messages("s") == log[:staying]

    def test_what_other_writes_left_is_rewound(self, store: SessionStore) -> None:
        """Messages that were deleted, replaced and written anew, and what a rewind leaves them."""
        log = conversation(12)
        store.create("s", messages=log)
        store.delete_messages("s", ["m0", "m2", "m3", "m7", "m8", "m10"])
        store.replace_message("s", said("better", "m9"))
        assert store.rewind("s", to="m6") == ["m9", "m11"]
        self.require_log(store, [log[1], log[4], log[5], log[6]])
        store.append_messages("s", log)
        assert store.rewind("s", to="m0") == ["m2", "m3", "m7", "m8", "m9", "m10", "m11"]
        self.require_log(store, [log[1], log[4], log[5], log[6], log[0]])
        store.delete_messages("s", ["m4", "m5"])
        assert store.rewind("s", to="m1") == ["m6", "m0"]
        self.require_log(store, [log[1]])
        store.append_messages("s", log)
        store.delete_messages("s", [f"m{number}" for number in range(2, 11)])
        assert store.rewind("s", to="m0") == ["m11"]
        self.require_log(store, [log[1], log[0]])
        store.update("s", messages=log[::-1])
        assert store.rewind("s", to="m10") == ids(log[9::-1])
        self.require_log(store, [log[11], log[10]])

    def test_the_system_message_stays(self, store: SessionStore) -> None:
        """It is the first message, unless all are deleted."""
        system = SessionMessage("system", "Be brief.", id="system")
        store.create("s", messages=[system, *conversation(3)])
        store.rewind("s", to="m0")
        read = store.get_messages("s", limit=1, keep_system=True)
        assert ids(read) == ["system", "m0"]
        store.rewind("s", to=None)
        assert store.get_messages("s", limit=1, keep_system=True) == []

    def test_a_turn_is_rewound_and_saved_in_one_step(self, store: SessionStore) -> None:
        """Each operation finds what those before it did, and ids may be used again."""
        log = conversation(6)
        store.create("s", messages=log, user_id="u")
        edited = said("edited", "m2")
        gone, added, data = store.run(
            [
                Rewind("s", "m1", "u"),
                Append("s", [edited, said("answer", "a")], user_id="u"),
                Get("s", user_id="u"),
            ]
        )
        assert (gone, added) == (["m2", "m3", "m4", "m5"], 2)
        assert [m.content for m in data.messages] == ["text 0", "text 1", "edited", "answer"]
        session = stored(store, "s")
        assert (data.messages, data.version) == (session.messages, session.version)
        more, back, read = store.run(
            [
                Append("s", [said("x", "x")], user_id="u"),
                Rewind("s", "m2", "u"),
                GetMessages("s", user_id="u"),
            ]
        )
        assert (more, back, ids(read)) == (1, ["a", "x"], ["m0", "m1", "m2"])

    def test_a_rewind_is_undone_where_the_list_fails(self, store: SessionStore) -> None:
        """The session is as it was; and a list stops at a message that is not there."""
        before = store.create("s", messages=conversation(40), metadata={"title": "T"})
        store.append_message("t", said("t", "t"))
        page = store.list_sessions()
        failing = ReplaceMessage("s", said("x", "nowhere"))
        for to in (None, "m0", "m30", "m39"):
            with pytest.raises(SessionNotFoundError):
                store.run([Rewind("s", to), Append("s", [said("y", "m5")]), failing])
            with pytest.raises(SessionNotFoundError):
                store.run([Append("s", [said("y", "y")]), Rewind("s", to), Rewind("s", "m40")])
        assert store.get("s") == before
        assert store.list_sessions() == page
        with pytest.raises(SessionNotFoundError):
            store.run([Append("new", [said("y", "y")]), Rewind("new", "m0")])
        assert store.get("new") is None
        assert store.run([Rewind("new", None), Get("new")]) == [[], None]

    def test_racing_rewinds_get_each_message_once(self, stores: Stores) -> None:
        """Of callers who rewind at once, each message is handed to exactly one."""
        store = stores.open()
        store.append_messages("s", conversation(40))

        def rewind(first: int) -> list[str]:
            return [
                name for number in range(first, 0, -4) for name in _rewound(store, f"m{number}")
            ]

        gone = stores.at_once(*(partial(rewind, first) for first in (39, 38, 37, 36)))
        left = ids(store.get_messages("s"))
        assert left == ids(conversation(40))[: len(left)]
        assert sorted(chain(*gone)) == sorted(str(m.id) for m in conversation(40)[len(left) :])

    def test_rewinding_while_others_append_loses_nothing(self, stores: Stores) -> None:
        """What a rewind tells, and what is left, is what was appended, once."""
        store = stores.open()
        store.append_message("s", said("first", "first"))

        def write(writer: int) -> list[str]:
            for number in range(8):
                store.append_message("s", said("x", f"{writer}-{number}"))
            return []

        def rewind() -> list[str]:
            return [name for _ in range(10) for name in store.rewind("s", to="first")]

        gone = stores.at_once(partial(write, 0), partial(write, 1), rewind, rewind)
        left = ids(store.get_messages("s"))
        assert left[0] == "first"
        expected = [f"{writer}-{number}" for writer in "01" for number in range(8)]
        assert sorted([*chain(*gone), *(str(name) for name in left[1:])]) == sorted(expected)
        assert stored(store, "s").message_count == len(left)


class RewindVolumeContract(StoreSuite):
    """What a rewind costs: it grows with what is deleted, not with what stays."""

    def test_a_long_session_is_rewound(self, store: SessionStore) -> None:
        """All but one of 100,000 messages, and then all of them."""
        self.require_support("flat_cost")
        log = conversation(MANY)
        for to in ("m0", None):
            for start in range(0, MANY, _BATCH):
                store.append_messages("s", log[start : start + _BATCH])
            kept = 0 if to is None else 1
            assert store.rewind("s", to=to) == ids(log[kept:])
            assert store.get_messages("s") == log[:kept]

    def test_a_rewind_costs_what_it_deletes(self, open_store: OpenStore) -> None:
        """The end of a long session goes as fast as that of a short one."""
        self.require_support("flat_cost")
        with open_store() as store:
            log = conversation(_LONG)
            store.append_messages("short", log[:_SHORT])
            store.append_messages("long", log)
            whole = least(partial(store.get_messages, "long"), 3)
            short, long = (
                min(_rewind_time(store, session_id, to) for _ in range(20))
                for session_id, to in (("short", f"m{_SHORT - 1}"), ("long", f"m{_LONG - 1}"))
            )
            assert long < 3 * short + whole / 4


def _rewind_time(store: SessionStore, session_id: str, to: str) -> float:
    store.append_messages(session_id, [said("a", "new-a"), said("b", "new-b")])
    start = time.perf_counter()
    assert store.rewind(session_id, to=to) == ["new-a", "new-b"]
    return time.perf_counter() - start


def _nasty(place: int, name: str) -> SessionMessage:
    other = NASTY_IDS[(place * 7 + 3) % len(NASTY_IDS)]
    call = ToolCall(id=other, name="tool", args={"id": other})
    return SessionMessage(
        "assistant",
        [{"type": "text", "id": other, "text": f'{{"id":"{other}"}}'}],
        id=name,
        name=f'"id":"{other}"',
        tool_calls=[call],
        metadata={"id": other},
        extra={"x": {"id": other}},
    )


def _rewound(store: SessionStore, to: str) -> list[str]:
    try:
        return store.rewind("s", to=to)
    except SessionNotFoundError:  # another was further back
        return []
