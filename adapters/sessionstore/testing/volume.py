"""Size: large messages, long sessions, and what they cost."""

from __future__ import annotations

from sessionstore.store import SessionStore
from sessionstore.testing.colours import ColouredSuite
from sessionstore.testing.samples import contents, conversation, ids, said

__all__ = ["VolumeContract"]

MANY = 100_000


class VolumeContract(ColouredSuite):
    """Guarantee 6, and the sizes that every store takes."""

    def test_a_large_message(self, store: SessionStore) -> None:
        """10 MB come back as they were."""
        text = "0123456789abcd\N{GREEK SMALL LETTER ALPHA}" * (10 * 2**20 // 16)
        store.append_messages("s", [said("before"), said(text), said("after")])
        assert contents(store.get_messages("s")) == ["before", text, "after"]

    def test_a_long_session(self, store: SessionStore) -> None:
        """100,000 messages are kept in order, and used as ten are. (What they cost is measured.)"""
        log = conversation(MANY)
        for start in range(0, MANY, 10_000):
            assert store.append_messages("s", log[start : start + 10_000]) == 10_000
        assert ids(store.get_messages("s")) == ids(log)
        assert store.list_sessions(limit=1).sessions[0].message_count == MANY
        assert store.get_messages("s", limit=2, before="m50000") == log[49_998:50_000]
        assert store.append_messages("s", [said("", "m1"), said("", "m2")]) == 0
        assert store.append_messages("s", [said("the last", "m-last")]) == 1
        assert ids(store.get_messages("s", limit=2)) == [log[-1].id, "m-last"]
