"""Size: large messages, long sessions, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable

from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.colours import ColouredSuite, OpenStore
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

    def test_a_long_session(self, open_store: OpenStore) -> None:
        """100,000 messages are kept in order; their end costs what that of 10 costs."""
        with open_store() as store:
            log = conversation(MANY)
            store.append_messages("short", log[:10])
            for start in range(0, MANY, 10_000):
                assert store.append_messages("long", log[start : start + 10_000]) == 10_000
            assert ids(store.get_messages("long")) == ids(log)
            assert store.list_sessions(limit=1).sessions[0].message_count == MANY
            assert store.get_messages("long", limit=2, before="m50000") == log[49_998:50_000]
            for use in (append_and_read, retry, page_back):
                short, long = (cost(use, store, session_id) for session_id in ("short", "long"))
                assert long < 10 * short, f"{use.__name__}: {long:.6f} s against {short:.6f} s"


def append_and_read(store: SessionStore, session_id: str) -> None:
    """Do what an agent does in each turn."""
    store.append_messages(session_id, [said("question"), SessionMessage("assistant", "answer")])
    assert len(store.get_messages(session_id, limit=10, keep_system=True)) == 10
    assert len(stored_end(store, session_id)) == 10


def retry(store: SessionStore, session_id: str) -> None:
    """Append what is held."""
    assert store.append_messages(session_id, [said("", "m1"), said("", "m2")]) == 0


def page_back(store: SessionStore, session_id: str) -> None:
    """Read what is before an old message."""
    assert len(store.get_messages(session_id, limit=3, before="m8")) == 3


def stored_end(store: SessionStore, session_id: str) -> list[SessionMessage]:
    """Read a session with its last ten messages."""
    session = store.get(session_id, limit=10)
    return session.messages if session else []


def cost(use: Callable[[SessionStore, str], None], store: SessionStore, session_id: str) -> float:
    """Give the least time that a use takes: what else the machine does is not in it."""
    return min(timed(use, store, session_id) for _ in range(20))


def timed(use: Callable[[SessionStore, str], None], store: SessionStore, session_id: str) -> float:
    """Give the time of one use, in seconds."""
    start = time.perf_counter()
    use(store, session_id)
    return time.perf_counter() - start
