"""What a fallback knows of long sessions, of which it keeps the end, held against a plain model."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionMessage,
    StoreConnectionError,
    WrapperSessionStore,
)
from sessionstore.operations import Append, Rewind

KEPT = 2  # of which the last, and up to twice as many, are known in an outage
IDS = "abcdefghijkl"
_ids = st.lists(st.sampled_from(IDS), max_size=6, unique=True)
_kinds = ["append", "append", "append", "update", "delete", "replace", "rewind", "turn"]
_writes = st.tuples(st.sampled_from(_kinds), _ids)


class Switched(WrapperSessionStore):
    down = False

    def run(self, operation: Any) -> Any:
        if self.down:
            raise StoreConnectionError("down")
        return super().run(operation)


class Model:
    """A session's messages; what the store answers is held against them."""

    def __init__(self, store: FallbackSessionStore) -> None:
        self.store = store
        self.log: list[SessionMessage] = []

    def append(self, ids: list[str]) -> None:
        held = {message.id for message in self.log}
        batch = said(ids, first=not self.log)
        new = [message for message in batch if message.id not in held]
        assert self.store.append_messages("s", batch) == len(new)
        self.log += new

    def update(self, ids: list[str]) -> None:
        self.log = said(ids, first=True)
        assert self.store.update("s", messages=self.log).message_count == len(ids)

    def delete(self, ids: list[str]) -> None:
        gone = [message.id for message in self.log if message.id in ids]
        assert not ids or self.store.delete_messages("s", ids) == gone
        self.log = [message for message in self.log if message.id not in ids]

    def replace(self, ids: list[str]) -> None:
        for place, message in enumerate(self.log):
            if message.id in ids:
                self.log[place] = replace(message, content="again")
                self.store.replace_message("s", self.log[place])

    def rewind(self, ids: list[str]) -> None:
        held = [message.id for message in self.log]
        to = next((each for each in ids if each in held), None)
        start = 0 if to is None else held.index(to) + 1
        assert self.store.rewind("s", to=to) == held[start:]
        del self.log[start:]

    def turn(self, ids: list[str]) -> None:
        """Rewind and append in one step: ids that are deleted are new again."""
        held = [message.id for message in self.log]
        to = next((each for each in ids[::-1] if each in held), None)
        start = 0 if to is None else held.index(to) + 1
        new = said([each for each in ids if each not in held[:start]], first=not start)
        gone, added = self.store.run([Rewind("s", to), Append("s", new)])
        assert (gone, added) == (held[start:], len(new))
        self.log[start:] = new

    def require_known(self) -> None:
        """Hold against it what is read in an outage: the end, and a system message in front."""
        data = self.store.get("s", limit=KEPT)
        assert data is not None
        assert data.message_count == len(self.log)
        unknown = len(self.log) - len(data.messages)
        assert data.messages == self.log[unknown:]
        front = self.log[:1] if unknown and self.log[0].role == "system" else []
        last = self.store.get_messages("s", limit=KEPT, keep_system=True)
        assert last == [*front, *data.messages]


def said(ids: list[str], *, first: bool) -> list[SessionMessage]:
    """Make messages; where "a" comes first of all it is a system message."""
    batch = [SessionMessage("user", "hello", id=each) for each in ids]
    if first and ids[:1] == ["a"]:
        batch[0] = replace(batch[0], role="system")
    return batch


@settings(max_examples=150, deadline=None)
@given(
    healthy=st.lists(_writes, max_size=8),
    emptied=st.booleans(),
    outage=st.lists(_ids, max_size=3),
)
def test_what_is_known_of_a_long_session_is_what_it_holds(
    healthy: list[tuple[str, list[str]]], emptied: bool, outage: list[list[str]]
) -> None:
    primary = Switched(InMemorySessionStore())
    model = Model(FallbackSessionStore(primary, retry_after=60, retry_cap=60, max_messages=KEPT))
    model.append(list("abcdef"))
    for kind, ids in healthy:
        getattr(model, kind)(ids)
    primary.down = True
    if model.log:
        model.require_known()
    if emptied:
        model.update([])
    for ids in outage:
        model.append(ids)
        if model.log:
            model.require_known()
    primary.down = False
    assert model.store.recover()
    assert primary.get_messages("s") == model.log


@given(
    held=st.integers(0, 8),
    limit=st.integers(1, 10),
    system=st.booleans(),
    more=st.integers(0, 8),
)
def test_reading_the_end_loses_count_of_nothing(
    held: int, limit: int, system: bool, more: int
) -> None:
    primary = Switched(InMemorySessionStore())
    model = Model(FallbackSessionStore(primary, retry_after=60, retry_cap=60, max_messages=KEPT))
    first, last = IDS[:held], IDS[held : held + more]
    model.append(list(first))
    model.store.get_messages("s", limit=limit, keep_system=system)
    model.append(list(last))
    model.store.get_messages("s", limit=limit, keep_system=system)
    primary.down = True
    if model.log:
        data = model.store.get("s")
        assert data is not None
        assert data.message_count == len(model.log)
