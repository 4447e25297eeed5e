"""Size: large messages, long sessions, and what they cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said

__all__ = ["VolumeContract"]

MANY = 100_000
LONG = 20_000


class VolumeContract(StoreSuite):
    """Guarantee 6, and the sizes that every store takes."""

    def test_a_large_message_is_stored(self, store: SessionStore) -> None:
        """10 MB come back as they were."""
        text = "0123456789abcd\N{GREEK SMALL LETTER ALPHA}" * (10 * 2**20 // 16)
        store.append_messages("s", [said("before"), said(text), said("after")])
        assert contents(store.get_messages("s")) == ["before", text, "after"]

    def test_a_long_session_is_used_as_a_short_one(self, store: SessionStore) -> None:
        """100,000 messages are kept in order, and used as ten are."""
        self.require_support("flat_cost")
        log = conversation(MANY)
        for start in range(0, MANY, 10_000):
            assert store.append_messages("s", log[start : start + 10_000]) == 10_000
        assert ids(store.get_messages("s")) == ids(log)
        assert store.list_sessions(limit=1).sessions[0].message_count == MANY
        assert store.get_messages("s", limit=2, before="m50000") == log[49_998:50_000]
        assert store.get_messages("s", limit=2, after="m50000") == log[50_001:50_003]
        assert store.append_messages("s", [said("", "m1"), said("", "m2")]) == 0
        assert store.append_messages("s", [said("the last", "m-last")]) == 1
        assert ids(store.get_messages("s", limit=2)) == [log[-1].id, "m-last"]
        spread = [f"m{number}" for number in range(0, MANY, 100)]
        assert store.delete_messages("s", spread[::-1]) == spread
        assert store.get_messages("s", limit=2, before="m50001") == [log[49_998], log[49_999]]
        scattered = [f"m{number}" for number in range(MANY) if number % 9 in (1, 3, 5, 7)]
        gone = set(scattered) - set(spread)
        deleted = store.delete_messages("s", scattered[::-1])
        assert deleted == [name for name in scattered if name in gone]
        gone |= set(spread)
        assert ids(store.get_messages("s")) == [*(n for n in ids(log) if n not in gone), "m-last"]
        assert store.get_messages("s", limit=2, before="m50003") == [log[49_999], log[50_001]]

    def test_a_turn_costs_the_same_in_a_long_session(self, open_store: OpenStore) -> None:
        """Beside reading all of the long one, what a turn needs is as nothing: guarantee 6.

        In the long one, and in a short one beside it, as in a short one before it was there.
        """
        self.require_support("flat_cost")
        with open_store() as store:
            log = conversation(LONG)
            for session_id in ("alone", "short"):
                store.append_messages(session_id, log[:20])
            alone = {use: least(partial(use, store, "alone"), 20) for use in USES}
            store.append_messages("long", log)
            whole = least(lambda: store.get_messages("long"), 3)
            for use in USES:
                for session_id in ("short", "long"):
                    cost = least(partial(use, store, session_id), 20)
                    assert cost < 3 * alone[use] + whole / 4, (
                        f"{use.__name__} in the {session_id} session: {cost} s, not {alone[use]} s"
                    )


def turn(store: SessionStore, session_id: str) -> None:
    """Do what an agent does in each turn."""
    store.append_messages(session_id, [said("question"), said("answer")])
    assert len(store.get_messages(session_id, limit=10, keep_system=True)) == 10
    assert len(stored_end(store, session_id)) == 10


def stored_end(store: SessionStore, session_id: str) -> list[SessionMessage]:
    """Read a session with its last ten messages."""
    session = store.get(session_id, limit=10)
    return session.messages if session else []


def retry(store: SessionStore, session_id: str) -> None:
    """Append what is held."""
    assert store.append_messages(session_id, [said("", "m1"), said("", "m2")]) == 0


def page_back(store: SessionStore, session_id: str) -> None:
    """Read what is before an old message."""
    assert len(store.get_messages(session_id, limit=3, before="m8")) == 3


def page_on(store: SessionStore, session_id: str) -> None:
    """Read what is behind a new message, and behind an old one."""
    last = store.get_messages(session_id, limit=4)
    assert store.get_messages(session_id, after=last[0].id, limit=9) == last[1:]
    assert len(store.get_messages(session_id, after="", limit=3)) == 3


def archive(store: SessionStore, session_id: str) -> None:
    """Delete the oldest messages but one, and know how many are left."""
    old = store.get_messages(session_id, after="", limit=3)
    store.append_messages(session_id, [said("in their place"), said("in their place")])
    assert len(store.delete_messages(session_id, [str(message.id) for message in old[1:]])) == 2
    head = store.get(session_id, limit=0)
    assert head is not None
    assert head.message_count > 10
    assert head.messages == []


def take_back(store: SessionStore, session_id: str) -> None:
    """Delete the newest messages but one."""
    store.append_messages(session_id, [said("a", "new-a"), said("b", "new-b"), said("c", "new-c")])
    assert store.delete_messages(session_id, ["new-b", "new-a"]) == ["new-a", "new-b"]
    assert store.delete_messages(session_id, ["new-c"]) == ["new-c"]


USES = (turn, retry, page_back, page_on, archive, take_back)


def least(use: Callable[[], object], times: int) -> float:
    """Give the least time that a use takes, in seconds: what else the machine does is not in it."""
    return min(timed(use) for _ in range(times))


def timed(use: Callable[[], object]) -> float:
    """Give the time of one use, in seconds."""
    start = time.perf_counter()
    use()
    return time.perf_counter() - start
