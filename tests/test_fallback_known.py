"""What a fallback knows of long sessions, of which it keeps the end, held against a plain model."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    StoreConnectionError,
    WrapperSessionStore,
)

KEPT = 2  # of which the last, and up to twice as many, are known in an outage
IDS = "abcdefghijkl"
_ids = st.lists(st.sampled_from(IDS), max_size=6, unique=True)
_writes = st.tuples(st.sampled_from(["append", "append", "append", "update", "delete"]), _ids)


class Switched(WrapperSessionStore):
    down = False

    def run(self, operation: Any) -> Any:
        if self.down:
            raise StoreConnectionError("down")
        return super().run(operation)


def said(ids: list[str]) -> list[SessionMessage]:
    # A system message is shown in front of what is known, also when it is cut off.
    return [SessionMessage("system" if each in "ab" else "user", each, id=each) for each in ids]


def write(store: FallbackSessionStore, log: list[str], kind: str, ids: list[str]) -> list[str]:
    """Do it, hold the answer against the model, and give what that holds then."""
    if kind == "update":
        assert store.update("s", messages=said(ids)).message_count == len(ids)
        return ids
    if kind == "delete":
        gone = [each for each in log if each in ids]
        assert not ids or store.delete_messages("s", ids) == gone
        return [each for each in log if each not in ids]
    new = [each for each in ids if each not in log]
    assert store.append_messages("s", said(ids)) == len(new)
    return log + new


def shown(log: list[str], limit: int) -> list[str]:
    """Give the last messages, and the first one before them if that is a system message."""
    front = log[:1] if len(log) > limit and log[0] in "ab" else []
    return front + log[-limit:]


def require_known(store: FallbackSessionStore, log: list[str]) -> None:
    last = store.get_messages("s", limit=KEPT, keep_system=True)
    assert [message.id for message in last] == shown(log, KEPT)
    data = store.get("s", limit=KEPT)
    assert data is not None
    assert data.message_count == len(log)


@settings(max_examples=150, deadline=None)
@given(
    healthy=st.lists(_writes, max_size=8),
    emptied=st.booleans(),
    outage=st.lists(_ids, min_size=1, max_size=3),
)
def test_a_message_counts_as_known_as_long_as_the_session_holds_it(
    healthy: list[tuple[str, list[str]]], emptied: bool, outage: list[list[str]]
) -> None:
    primary = Switched(InMemorySessionStore())
    store = FallbackSessionStore(primary, retry_after=60, retry_cap=60, max_messages=KEPT)
    log = write(store, [], "append", list("abcdef"))
    for kind, ids in healthy:
        log = write(store, log, kind, ids)
    primary.down = True
    if log:
        require_known(store, log)
    if emptied:
        log = write(store, log, "update", [])
    for ids in outage:
        log = write(store, log, "append", ids)
        if log:
            require_known(store, log)
    primary.down = False
    assert store.recover()
    assert [message.id for message in primary.get_messages("s")] == log
