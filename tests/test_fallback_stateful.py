"""Any operations and faults, in any order, on a fallback and on a model that forgets nothing.

The model knows what was acknowledged. Others write to the primary meanwhile: their messages are
told apart by their ids, and must never be lost either.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults import FaultyStore, Killed
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    SessionConflictError,
    SessionExistsError,
    SessionMessage,
    SessionNotFoundError,
    SessionStore,
    SessionStoreError,
    SQLiteSessionStore,
    StoreUnavailableError,
)
from sessionstore.fallback.requests import send
from sessionstore.flow import play
from sessionstore.operations import Append, Get, Rewind, Update

_sessions = st.sampled_from(["a", "b"])
_ids = st.sampled_from("klmnopqrst")
_messages = st.builds(SessionMessage, st.just("user"), st.text("xyz", max_size=3), id=_ids)
_batches = st.lists(_messages, max_size=4, unique_by=lambda message: message.id)
_changes = st.dictionaries(st.sampled_from("abc"), st.none() | st.integers(0, 9), max_size=2)
_faults = st.lists(st.sampled_from([None, None, "down", "lost"]), max_size=4)
EXAMPLES = 15  # the soak tries many more
_ends = st.sampled_from([None, None, "down"])


class Past:
    """What is acknowledged of one session: nothing, or its messages and metadata."""

    def __init__(self) -> None:
        self.log: list[SessionMessage] | None = None
        self.metadata: dict[str, Any] = {}

    def copy(self) -> Past:
        past = Past()
        past.log, past.metadata = None if self.log is None else list(self.log), self.metadata
        return past

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Past) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return f"{self.log and [(m.id, m.content) for m in self.log]} {self.metadata}"

    def create(self, messages: list[SessionMessage], metadata: dict[str, Any]) -> None:
        if self.log is not None:
            raise SessionExistsError
        self.log, self.metadata = list(messages), metadata

    def append(self, messages: list[SessionMessage]) -> int:
        held = {message.id for message in self.log or ()}
        new = [message for message in messages if message.id not in held]
        if new:
            self.log = [*(self.log or ()), *new]
        return len(new)

    def replace(self, message: SessionMessage) -> None:
        if message.id not in {held.id for held in self.log or ()}:
            raise SessionNotFoundError
        self.log = [message if held.id == message.id else held for held in self.log or ()]

    def update(self, messages: list[SessionMessage] | None, changes: dict[str, Any] | None) -> None:
        if self.log is None:
            raise SessionNotFoundError
        self.log = self.log if messages is None else list(messages)
        merged = {**self.metadata, **(changes or {})}
        self.metadata = {key: value for key, value in merged.items() if value is not None}

    def rewind(self, to: str) -> list[str]:
        held = [str(message.id) for message in self.log or ()]
        if self.log is None or to not in held:
            raise SessionNotFoundError
        start = held.index(to) + 1
        del self.log[start:]
        return held[start:]

    def delete(self) -> bool:
        there, self.log, self.metadata = self.log is not None, None, {}
        return there


def read(store: SessionStore, session_id: str) -> Past:
    past, data = Past(), store.get(session_id)
    if data is not None:
        past.log, past.metadata = list(data.messages), dict(data.metadata)
    return past


def without(past: Past, ids: set[str | None]) -> Past:
    rest = past.copy()
    rest.log = None if rest.log is None else [m for m in rest.log if m.id not in ids]
    return rest


class Outages(RuleBasedStateMachine):
    """Drives the store and the model."""

    mode = "sync"
    lasting = True

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.primary = FaultyStore(InMemorySessionStore())
        self.memory = InMemorySessionStore()
        self.opened: list[SQLiteSessionStore] = []
        self.truth = {name: Past() for name in "ab"}
        self.known: set[str] = set()
        self.theirs: dict[str, list[str]] = {"a": [], "b": []}
        self.number = 0
        self.open()

    def open(self) -> None:
        inner: SessionStore = self.memory
        if self.lasting:
            inner = SQLiteSessionStore(Path(self.folder.name) / "j.db", synchronous="NORMAL")
            self.opened.append(inner)
        self.fallback = FaultyStore(inner)
        self.store = FallbackSessionStore(
            self.primary, fallback=self.fallback, retry_after=0, max_pending=1000
        )

    def teardown(self) -> None:
        self.primary.come_back()
        self.settle()
        for store in self.opened:
            store.close()
        self.loop.close()
        self.folder.cleanup()

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        if self.mode == "sync":
            return getattr(self.store, name)(*args, **kwargs)
        return self.loop.run_until_complete(getattr(self.store, f"a{name}")(*args, **kwargs))

    # -- Asking both ------------------------------------------------------------------------------

    def agree(
        self,
        name: str,
        on_model: Callable[[Past], Any],
        call: Callable[[], Any],
        *,
        may_refuse: bool = False,
    ) -> None:
        """Do both: the caller is told what is true, or refused what can't be known."""
        past = self.truth[name].copy()
        expected = outcome_of(on_model, past)
        fails = bool(self.fallback.left)
        try:
            outcome = call()
        except StoreUnavailableError:
            assert may_refuse or fails or name not in self.known, "refused what is known"
            self.resolve(name, past)
            return
        except SessionStoreError as error:
            outcome = type(error)
        assert outcome == expected
        self.truth[name] = past

    def resolve(self, name: str, after: Past) -> None:
        """After an answer that was lost: all of it was done, or nothing."""
        done = not self.store._parts.journal.has_shown(name) and self.ours(name) == after
        if done and after != self.truth[name]:
            self.truth[name] = after
            self.settle()  # until then a reader can't know of it

    # -- Operations -------------------------------------------------------------------------------

    @rule(name=_sessions, batch=_batches, metadata=_changes)
    def create(self, name: str, batch: list[SessionMessage], metadata: dict[str, Any]) -> None:
        metadata = {key: value for key, value in metadata.items() if value is not None}

        self.agree(
            name,
            lambda past: past.create(batch, metadata),
            lambda: self.call("create", name, messages=batch, metadata=metadata) and None,
        )

    @rule(name=_sessions, batch=_batches)
    def append(self, name: str, batch: list[SessionMessage]) -> None:
        self.agree(
            name,
            lambda past: past.append(batch),
            lambda: self.call("append_messages", name, batch),
        )

    @rule(name=_sessions, batch=_batches)
    def append_at_a_version(self, name: str, batch: list[SessionMessage]) -> None:
        data = self.primary.inner.get(name)
        version = data.version if data else 0
        try:
            self.call("append_messages", name, batch, expected_version=version)
        except StoreUnavailableError:
            after = self.truth[name].copy()
            after.append(batch)
            self.resolve(name, after)
        except SessionConflictError:
            pass  # what waited went first
        else:
            self.truth[name].append(batch)

    @rule(name=_sessions, batch=_batches)
    def turn(self, name: str, batch: list[SessionMessage]) -> None:
        """Read and append in one step: what is read is without what is appended."""

        def call() -> Any:
            data, added = self.call("run", [Get(name), Append(name, batch)])
            ours = [m for m in (data.messages if data else ()) if m.id not in self.theirs[name]]
            return [(m.id, m.content) for m in ours], added

        def on_model(past: Past) -> Any:
            before = [(m.id, m.content) for m in past.log or ()]
            return before, past.append(batch)

        unseen = name in self.known and not self.store._parts.cache.knows(name)
        self.agree(name, on_model, call, may_refuse=unseen)

    @rule(name=_sessions, batch=_batches, changes=_changes)
    def append_and_update(
        self, name: str, batch: list[SessionMessage], changes: dict[str, Any]
    ) -> None:
        """Both or neither."""

        def on_model(past: Past) -> Any:
            after = past.copy()
            added = after.append(batch)
            after.update(None, changes)
            past.log, past.metadata = after.log, after.metadata
            return added

        append, update = Append(name, batch), Update(name, metadata=changes)
        self.agree(name, on_model, lambda: self.call("run", [append, update])[0])

    @rule(name=_sessions, message=_messages)
    def replace(self, name: str, message: SessionMessage) -> None:
        held = message.id in {m.id for m in self.truth[name].log or ()}
        self.agree(
            name,
            lambda past: past.replace(message),
            lambda: self.call("replace_message", name, message),
            may_refuse=not held,
        )

    @rule(name=_sessions, batch=_batches, changes=_changes)
    def update(self, name: str, batch: list[SessionMessage], changes: dict[str, Any]) -> None:
        self.agree(
            name,
            lambda past: past.update(batch, changes),
            lambda: self.call("update", name, messages=batch, metadata=changes) and None,
        )

    @rule(name=_sessions, changes=_changes)
    def update_metadata(self, name: str, changes: dict[str, Any]) -> None:
        self.agree(
            name,
            lambda past: past.update(None, changes),
            lambda: self.call("update", name, metadata=changes) and None,
        )

    @rule(name=_sessions, to=_ids, batch=_batches)
    def rewind(self, name: str, to: str, batch: list[SessionMessage]) -> None:
        """Alone, or with what is said instead; theirs that are behind may go, too."""

        def call() -> Any:
            asked = [Rewind(name, to), Append(name, batch)]
            gone, *added = self.call("run", asked) if batch else [self.call("rewind", name, to=to)]
            return [each for each in gone if each not in self.theirs[name]], added

        def on_model(past: Past) -> Any:
            return past.rewind(to), [past.append(batch)] if batch else []

        self.agree(name, on_model, call, may_refuse=True)
        held = {m.id for m in self.primary.inner.get_messages(name)}
        waits = self.store._parts.journal.pending()
        held -= {each for write in waits for each in getattr(write.operation, "message_ids", ())}
        self.theirs[name] = [message for message in self.theirs[name] if message in held]

    @rule(name=_sessions)
    def delete(self, name: str) -> None:
        absent = self.truth[name].log is None
        self.agree(
            name,
            lambda past: past.delete(),
            lambda: self.call("delete", name),
            may_refuse=absent,
        )
        if not self.store._parts.journal.holds(name):
            held = {m.id for m in read(self.primary.inner, name).log or ()}
            self.theirs[name] = [message for message in self.theirs[name] if message in held]

    # -- Faults -----------------------------------------------------------------------------------

    @rule()
    def go_down(self) -> None:
        self.primary.go_down()

    @rule()
    def come_back(self) -> None:
        self.primary.come_back()

    @rule(faults=_faults, then=_ends)
    def fail_at_the_next_requests(self, faults: list[str | None], then: str | None) -> None:
        self.primary.script(*faults, then=then)

    @rule(faults=st.lists(st.sampled_from([None, "down"]), max_size=3))
    def the_fallback_fails_at_the_next_requests(self, faults: list[str | None]) -> None:
        self.fallback.script(*faults)

    @rule(name=_sessions, count=st.integers(1, 2))
    def another_writes(self, name: str, count: int) -> None:
        """Straight to the primary."""
        if name not in self.known or self.truth[name].log is None:
            return
        self.number += 1
        new = [SessionMessage("user", "theirs", id=f"{self.number}.{n}") for n in range(count)]
        self.primary.inner.append_messages(name, new)
        self.theirs[name] += [str(message.id) for message in new]

    @rule(place=st.integers(0, 5), after=st.booleans(), name=_sessions, batch=_batches)
    def cancelled(self, place: int, after: bool, name: str, batch: list[SessionMessage]) -> None:
        """At the n-th request of either store, before or after it is done: the store goes on."""
        self.settle()
        fault = "killed after" if after else "killed"
        self.primary.script(*[None] * place, fault, then="down")
        self.fallback.script(*["killed after" if after else "killed"] if place > 3 else ())
        self.end_in_the_middle(name, batch)
        self.settle(lambda past: past.append(batch), name)

    @rule(faults=_faults, place=st.integers(0, 4), name=_sessions, batch=_batches)
    def killed_in_the_middle(
        self, faults: list[str | None], place: int, name: str, batch: list[SessionMessage]
    ) -> None:
        """Of a write or of a replay; another process goes on."""
        self.primary.script(*faults[:place], "killed after", then="down")
        self.fallback.come_back()
        ended = self.end_in_the_middle(name, batch)
        if ended:
            self.reopen()
            self.settle(lambda past: past.append(batch), name)
        else:
            self.crash()

    @rule(place=st.integers(1, 4), name=_sessions, batch=_batches)
    def killed_while_putting_back(self, place: int, name: str, batch: list[SessionMessage]) -> None:
        """Writes of several kinds: what was replayed does not wait any more."""
        self.settle()
        self.primary.go_down()
        self.update_metadata(name, {"n": place})
        self.append(name, batch)
        self.update_metadata(name, {"n": None})
        self.primary.script(*[None] * place, "killed", then="down")
        with suppress(Killed):
            self.call("recover")
        self.primary.go_down()
        self.crash()

    @rule(name=_sessions, batch=_batches)
    def lost_in_the_journal(self, name: str, batch: list[SessionMessage]) -> None:
        """Something is said after that, and then all ends."""
        self.settle()
        self.primary.go_down()
        self.fallback.script("lost")
        self.append(name, batch)
        self.fallback.come_back()
        for _ in range(2):
            self.number += 1
            self.append(name, [SessionMessage("user", "after", id=f"after {self.number}")])
        if self.lasting:
            self.reopen()
            self.look(name)
        self.settle()

    @rule(name=_sessions, batch=_batches)
    def another_writes_to_what_is_rewritten(self, name: str, batch: list[SessionMessage]) -> None:
        """In an outage: theirs stays."""
        self.settle()
        self.primary.go_down()
        self.another_writes(name, 1)
        self.update(name, batch, {})
        self.settle()

    def end_in_the_middle(self, name: str, batch: list[SessionMessage]) -> bool:
        try:
            self.append(name, batch)
        except Killed:
            return True
        finally:
            self.fallback.come_back()
            self.primary.go_down()
        return False

    @rule()
    def crash(self) -> None:
        """And reopen: without a word to the store that was there."""
        if self.reopen() != {"a", "b"}:
            self.settle()  # what was not written to in the outage is not known any more

    def reopen(self) -> set[str]:
        self.fallback.come_back()
        # A fallback that failed to note a replay, or to delete a journal, and a crash before
        # it is asked again, is one fault too many: what was replayed is replayed once more.
        journal = self.store._parts.journal
        for queue in list(journal._queues.values()):
            play(journal.note(queue), send)
        if journal.obsolete:
            play(journal.obsolete.sweep(), send)
        pending = [write.id for write in self.store.pending()]
        sessions = {write.session_id for write in self.store.pending()}
        self.store._parts.journal.leave()
        self.open()
        assert sorted(write.id for write in self.store.pending()) == sorted(pending)
        return sessions

    @rule()
    def recover(self) -> None:
        if self.call("recover"):
            self.check_primary()

    def settle(self, maybe: Callable[[Past], Any] | None = None, name: str = "a") -> None:
        """Come back, replay all, and compare the primary with what was acknowledged."""
        self.primary.come_back()
        self.fallback.come_back()
        assert self.call("recover")
        assert self.store.rejected() == []
        if maybe is not None:
            after = self.truth[name].copy()
            outcome_of(maybe, after)
            if self.ours(name) != self.truth[name]:
                self.truth[name] = after
        self.check_primary()
        for session_id in self.truth:
            self.look(session_id)

    def ours(self, name: str, seen: Past | None = None) -> Past:
        """Take out what others wrote; a session that they alone made is none of ours."""
        seen = read(self.primary.inner, name) if seen is None else seen
        mine = without(seen, set(self.theirs[name]))
        if mine.log == [] != seen.log and self.truth[name].log is None:
            mine.log, mine.metadata = None, {}
        return mine

    def check_primary(self) -> None:
        """It holds what was acknowledged, once and in order, and what others wrote."""
        assert self.store.pending() == []
        for name, past in self.truth.items():
            there, mine = read(self.primary.inner, name), self.ours(name)
            ids = [message.id for message in there.log or ()]
            assert [held for held in ids if held in self.theirs[name]] == self.theirs[name]
            assert len(set(ids)) == len(ids)
            assert mine.log == past.log
            assert mine.metadata == past.metadata or self.theirs[name]
            self.truth[name], self.theirs[name] = there, []

    # -- What a reader sees -----------------------------------------------------------------------

    @invariant()
    def readers_see_what_was_acknowledged(self) -> None:
        for name in self.truth:
            self.look(name)

    def look(self, name: str) -> None:
        data = self.call("get", name)
        seen = Past()
        if data is not None:
            seen.log, seen.metadata = data.messages, data.metadata
        mine = self.ours(name, seen)
        assert mine.log == self.truth[name].log
        assert mine.metadata == self.truth[name].metadata or self.theirs[name]
        if not self.store.is_degraded() and not self.store._parts.journal.holds(name):
            assert seen == read(self.primary.inner, name)
            held = {message.id for message in seen.log or ()}
            assert held >= set(self.theirs[name])
            # What others wrote is known from now on, and is as good as ours.
            self.truth[name], self.theirs[name] = seen, []
            self.known.discard(name)
            self.known.update([name] if seen.log is not None else [])


def outcome_of(on_model: Callable[[Past], Any], past: Past) -> Any:
    try:
        return on_model(past)
    except SessionStoreError as error:
        return type(error)


@pytest.mark.parametrize("fallback", ["sqlite", "memory"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_whatever_fails_nothing_is_lost(mode: str, fallback: str) -> None:
    survive(mode, fallback, EXAMPLES)


def survive(mode: str, fallback: str, examples: int) -> None:
    machine = type("Machine", (Outages,), {"mode": mode, "lasting": fallback == "sqlite"})
    logging.getLogger("sessionstore").setLevel(logging.CRITICAL)
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=25,
                phases=[Phase.explicit, Phase.generate],  # no shrinking: ids are random
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        logging.getLogger("sessionstore").setLevel(logging.NOTSET)
