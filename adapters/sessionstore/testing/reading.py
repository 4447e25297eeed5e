"""Reading messages: the last of them, page by page backwards, and with the system message."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstore.errors import InvalidMessageError, InvalidSessionError
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.modes import StoreSuite
from sessionstore.testing.samples import conversation, ids, said, stored

__all__ = ["ReadContract"]

SYSTEM = SessionMessage("system", "Be kind.", id="system")


class ReadContract(StoreSuite):
    """`get_messages` reads the end of a log, or any part of it, oldest first."""

    def test_all_messages_are_read_in_order(self, store: SessionStore) -> None:
        """Without a limit all are read, oldest first."""
        log = conversation(5)
        store.append_messages("s", log)
        assert store.get_messages("s") == log

    @pytest.mark.parametrize("limit", [0, 1, 4, 5, 6, 10**6, 2**63 - 1, 2**63, 10**30])
    def test_a_limit_gives_the_last_messages(self, store: SessionStore, limit: int) -> None:
        """A limit, however large, gives the last ones, oldest first."""
        log = conversation(5)
        store.append_messages("s", log)
        last = log[-limit:] if limit else []
        assert store.get_messages("s", limit=limit) == last
        session = store.get("s", limit=limit)
        assert session is not None
        assert session.messages == last
        assert session.message_count == 5

    def test_before_gives_what_precedes_a_message(self, store: SessionStore) -> None:
        """Only what is older than the message named is read, that one not included."""
        log = conversation(5)
        store.append_messages("s", log)
        assert store.get_messages("s", before="m3") == log[:3]
        assert store.get_messages("s", before="m0") == []
        assert store.get_messages("s", before="m3", limit=2) == log[1:3]
        assert store.get_messages("s", before="m3", limit=0) == []
        assert store.get_messages("s", before="m3", limit=9) == log[:3]

    def test_paging_back_reaches_the_start(self, store: SessionStore) -> None:
        """Page by page each message is read once, also where a batch had many."""
        log = conversation(11)
        store.append_messages("s", log[:7])
        for message in log[7:]:
            store.append_message("s", message)
        page = read = store.get_messages("s", limit=3)
        while page:
            page = store.get_messages("s", limit=3, before=page[0].id)
            assert len(page) in (3, 11 % 3, 0)
            read = page + read
        assert read == log

    def test_paging_is_not_moved_by_an_append(self, store: SessionStore) -> None:
        """A page goes back from a message, wherever the end of the log is by now."""
        log = conversation(9)
        store.append_messages("s", log[:6])
        page = store.get_messages("s", limit=2)
        store.append_messages("s", log[6:])
        assert store.get_messages("s", limit=2, before=page[0].id) == log[2:4]

    def test_paging_goes_on_after_replace_and_update(self, store: SessionStore) -> None:
        """Places follow what is in the log now."""
        log = conversation(6)
        store.append_messages("s", log)
        better = said("better", "m2")
        store.replace_message("s", better)
        assert store.get_messages("s", limit=2, before="m4") == [better, log[3]]
        turned = log[::-1]
        store.update("s", messages=turned)
        store.append_message("s", said("last", "z"))
        assert store.get_messages("s", limit=2, before="m1") == turned[2:4]

    def test_before_an_unknown_message_is_refused(self, store: SessionStore) -> None:
        """A message that the session does not hold is an error, one of another session too."""
        store.append_messages("s", conversation(2))
        store.append_messages("t", conversation(4))
        for before in ("m3", "unknown", "M0", "m"):
            with pytest.raises(InvalidMessageError):
                store.get_messages("s", before=before)

    def test_before_in_a_missing_session_gives_nothing(self, store: SessionStore) -> None:
        """There is nothing before anything."""
        assert store.get_messages("s", before="m0", limit=2) == []

    def test_after_gives_what_follows_a_message(self, store: SessionStore) -> None:
        """Only what is behind the message named is read, the first of it, oldest first."""
        log = conversation(5)
        store.append_messages("s", log)
        assert store.get_messages("s", after="m1") == log[2:]
        assert store.get_messages("s", after="m4") == []
        assert store.get_messages("s", after="m1", limit=2) == log[2:4]
        assert store.get_messages("s", after="m1", limit=0) == []
        assert store.get_messages("s", after="m1", limit=10**30) == log[2:]

    def test_after_an_empty_id_begins_at_the_start(self, store: SessionStore) -> None:
        """It begins at the first message, of a session that may be empty, or not there."""
        log = conversation(5)
        store.append_messages("s", log)
        store.create("empty")
        assert store.get_messages("s", after="") == log
        assert store.get_messages("s", after="", limit=2) == log[:2]
        assert store.get_messages("s", after="", limit=0) == []
        for session_id in ("empty", "none"):
            assert store.get_messages(session_id, after="", limit=2) == []
        assert store.get_messages("none", after="m0") == []

    def test_paging_on_reaches_the_end(self, store: SessionStore) -> None:
        """Page by page each message is read once, also those that come meanwhile."""
        log = conversation(11)
        store.append_messages("s", log[:7])
        read = page = store.get_messages("s", limit=3, after="")
        while page:
            page = store.get_messages("s", limit=3, after=page[-1].id)
            store.append_messages("s", log)
            read = read + page
        assert read == log

    def test_after_an_unknown_message_is_refused(self, store: SessionStore) -> None:
        """A message that the session does not hold is an error, one of another session too."""
        store.append_messages("s", conversation(2))
        store.append_messages("t", conversation(4))
        for after in ("m3", "unknown", "M0", "m"):
            with pytest.raises(InvalidMessageError):
                store.get_messages("s", after=after)
            with pytest.raises(InvalidMessageError):
                store.get_messages("s", after=after, limit=0)

    def test_after_excludes_before_and_keep_system(self, store: SessionStore) -> None:
        """It is refused before anything is read."""
        store.append_messages("s", conversation(4))
        for session_id in ("s", "none"):
            with pytest.raises(InvalidMessageError):
                store.get_messages(session_id, after="m0", before="m3")
            with pytest.raises(InvalidMessageError):
                store.get_messages(session_id, after="", before="m3")
            with pytest.raises(InvalidMessageError):
                store.get_messages(session_id, after="", keep_system=True)

    def test_a_head_counts_the_messages(self, store: SessionStore) -> None:
        """However few of them are read, and whatever was written."""
        log = conversation(6)
        assert store.create("s", messages=log[:2]).message_count == 2
        store.append_messages("s", log)
        store.replace_message("s", said("better", "m0"))
        for limit in (0, 1, None):
            session = store.get("s", limit=limit)
            assert session is not None
            assert session.message_count == 6
        assert store.update("s", messages=log[:3]).message_count == 3
        assert stored(store, "s").message_count == 3
        assert "messages=<3>" in repr(store.get("s", limit=0))

    def test_keep_system_puts_the_system_message_in_front(self, store: SessionStore) -> None:
        """The system message that the session begins with comes first, beyond the limit."""
        log = [SYSTEM, *conversation(5)]
        store.append_messages("s", log)
        for limit in (0, 1, 4, 5):
            last = log[len(log) - limit :]
            assert store.get_messages("s", limit=limit, keep_system=True) == [SYSTEM, *last]
        assert store.get_messages("s", limit=2) == log[-2:]

    def test_keep_system_knows_the_developer_role(self, store: SessionStore) -> None:
        """OpenAI's newer models name a system message's role "developer"."""
        log = [SessionMessage("developer", "Be kind.", id="system"), *conversation(3)]
        store.append_messages("s", log)
        assert store.get_messages("s", limit=1, keep_system=True) == [log[0], log[-1]]

    def test_keep_system_gives_the_message_once(self, store: SessionStore) -> None:
        """Where the limit reaches it, or there is none, it is one message among all."""
        log = [SYSTEM, *conversation(2)]
        store.append_messages("s", log)
        for limit in (3, 4, None):
            assert store.get_messages("s", limit=limit, keep_system=True) == log

    def test_keep_system_holds_when_paging(self, store: SessionStore) -> None:
        """It comes before any page but the one that holds it, and never goes before itself."""
        log = [SYSTEM, *conversation(4)]
        store.append_messages("s", log)
        page = store.get_messages("s", limit=1, before="m3", keep_system=True)
        assert page == [SYSTEM, log[3]]
        assert store.get_messages("s", limit=1, before="m0", keep_system=True) == [SYSTEM]
        assert store.get_messages("s", limit=1, before="system", keep_system=True) == []
        assert store.get_messages("s", limit=0, before="m0", keep_system=True) == [SYSTEM]
        assert store.get_messages("s", limit=0, before="system", keep_system=True) == []

    def test_keep_system_without_a_system_message_adds_nothing(self, store: SessionStore) -> None:
        """A first message of another role is not kept, nor is a later system message."""
        log = [*conversation(2), SYSTEM, said("a", "x"), said("b", "y")]
        store.append_messages("s", log)
        assert store.get_messages("s", limit=2, keep_system=True) == log[-2:]
        assert store.get_messages("t", limit=2, keep_system=True) == []

    def test_keep_system_in_an_empty_session_gives_nothing(self, store: SessionStore) -> None:
        """There is none to keep."""
        store.create("s")
        assert store.get_messages("s", limit=2, keep_system=True) == []

    @pytest.mark.parametrize("limit", [-1, 1.0, "2", True], ids=repr)
    def test_reading_refuses_an_invalid_limit(self, store: SessionStore, limit: Any) -> None:
        """A limit is a whole number of 0 or more."""
        store.append_messages("s", conversation(2))
        with pytest.raises(InvalidSessionError):
            store.get_messages("s", limit=limit)
        with pytest.raises(InvalidSessionError):
            store.get("s", limit=limit)

    def test_reading_writes_nothing(self, store: SessionStore) -> None:
        """Version and order of activity are as before."""
        before = store.create("s", messages=conversation(3))
        store.create("t")
        for _ in range(2):
            assert ids(store.get_messages("s", limit=1)) == ["m2"]
            assert store.get("s") == before
        assert [info.id for info in store.list_sessions().sessions] == ["t", "s"]
