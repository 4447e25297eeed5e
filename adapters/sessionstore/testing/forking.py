"""Forking a session: a new one with the messages of another."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from sessionstore.errors import (
    InvalidSessionError,
    SessionAccessError,
    SessionExistsError,
    SessionNotFoundError,
    SessionStoreError,
)
from sessionstore.models import SessionInfo, SessionMessage
from sessionstore.operations import Fork, Get
from sessionstore.store import SessionStore
from sessionstore.testing.concurrency import in_a_loop
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite, attempt
from sessionstore.testing.samples import NASTY_IDS, conversation, ids, said, stored
from sessionstore.testing.volume import LONG, MANY

__all__ = ["ForkContract", "ForkVolumeContract"]

CANCELS = 40
TITLE: dict[str, Any] = {"title": "Trip", "tags": ["a"], "cost": 1.50, "none": []}


class ForkContract(StoreSuite):
    """`fork` makes a session of another one's messages, and leaves that one as it was."""

    def test_a_fork_has_all_that_the_session_has(self, store: SessionStore) -> None:
        """Its messages in order, its agent, its owner, its metadata; and says where it is from."""
        log = conversation(5)
        before = store.create("s", agent_id="guide", user_id="u", messages=log, metadata=TITLE)
        info = store.fork("s", "t")
        fork = stored(store, "t")
        assert isinstance(info, SessionInfo)
        assert (fork.agent_id, fork.user_id, fork.messages) == ("guide", "u", log)
        origin = {"session_id": "s", "message_id": "m4"}
        assert fork.metadata == {**TITLE, "forked_from": origin}
        assert (fork.version, fork.message_count) == (1, 5)
        assert fork.created_at == fork.updated_at > before.updated_at
        fields = set(SessionInfo.__struct_fields__) - {"messages"}
        assert info == SessionInfo(**{name: getattr(fork, name) for name in fields})
        assert stored(store, "s") == before
        assert store.list_sessions(user_id="u", agent_id="guide").sessions[0] == info
        assert [listed.id for listed in store.list_sessions().sessions] == ["t", "s"]

    @pytest.mark.parametrize("place", [0, 3, 7])
    def test_a_fork_ends_with_the_message_it_is_made_at(
        self, store: SessionStore, place: int
    ) -> None:
        """And goes on from there as any session does."""
        log = conversation(8)
        store.append_messages("s", log)
        info = store.fork("s", "t", at=f"m{place}")
        assert info.message_count == place + 1
        assert info.metadata["forked_from"] == {"session_id": "s", "message_id": f"m{place}"}
        self.require_apart(store, log, log[: place + 1])

    def require_apart(
        self, store: SessionStore, log: list[SessionMessage], copied: list[SessionMessage]
    ) -> None:
        """Check that what is done to one of both sessions is not done to the other."""
        assert store.get_messages("t") == copied
        assert store.append_messages("t", [*log, said("new", "n")]) == len(log) - len(copied) + 1
        grown = [*log, said("new", "n")]
        assert ids(store.get_messages("t")) == ids(grown)
        assert store.get_messages("t", before="m1", limit=1) == log[:1]
        store.replace_message("t", said("better", "m0"))
        assert store.delete_messages("t", ["m0", "n"]) == ["m0", "n"]
        assert store.append_message("t", said("again", "m0")) == 1
        assert ids(store.get_messages("t")) == [*ids(log[1:]), "m0"]
        assert stored(store, "s").messages == log
        assert store.delete("t") is True
        assert stored(store, "s").messages == log

    def test_a_fork_of_what_was_changed_before(self, store: SessionStore) -> None:
        """Messages were deleted at both ends and between, and replaced."""
        store.append_messages("s", conversation(12))
        store.delete_messages("s", ["m0", "m1", "m4", "m6", "m7", "m11"])
        store.replace_message("s", said("better", "m5"))
        log = store.get_messages("s")
        assert ids(log) == ["m2", "m3", "m5", "m8", "m9", "m10"]
        store.fork("s", "all")
        assert store.get_messages("all") == log
        for place, message in enumerate(log):
            store.fork("s", f"at {place}", at=message.id)
            copied = store.get_messages(f"at {place}")
            assert copied == log[: place + 1]
            assert store.append_messages(f"at {place}", [*log, said("x", "m4")]) == 6 - place
            for earlier, later in pairwise(log):
                found = store.get_messages(f"at {place}", after=earlier.id, limit=1)
                assert found == [later]
            gone = [str(log[0].id), "m4"]
            assert store.delete_messages(f"at {place}", gone) == gone
            assert ids(store.get_messages(f"at {place}")) == ids(log[1:])
        assert store.get_messages("s") == log

    def test_a_fork_of_a_fork_names_the_session_it_is_made_of(self, store: SessionStore) -> None:
        """And not the first of all."""
        store.append_messages("s", conversation(4))
        store.fork("s", "t", at="m2")
        assert store.fork("t", "u", at="m1").metadata == {
            "forked_from": {"session_id": "t", "message_id": "m1"}
        }
        assert ids(store.get_messages("u")) == ["m0", "m1"]
        store.delete("t")
        assert ids(store.get_messages("u")) == ["m0", "m1"]

    def test_a_session_without_messages_is_forked(self, store: SessionStore) -> None:
        """There is no last message then."""
        store.create("s", metadata={"title": "Trip"})
        info = store.fork("s", "t")
        origin = {"session_id": "s", "message_id": None}
        assert info.metadata == {"title": "Trip", "forked_from": origin}
        assert (info.message_count, store.get_messages("t")) == (0, [])
        assert store.append_messages("t", conversation(2)) == 2
        assert store.get_messages("s") == []

    def test_an_id_is_made_where_none_is_given(self, store: SessionStore) -> None:
        """Another one each time."""
        store.append_messages("s", conversation(2))
        made = [store.fork("s"), store.fork("s", at="m0")]
        assert made[0].id != made[1].id
        assert [len(store.get_messages(info.id)) for info in made] == [2, 1]

    def test_metadata_is_merged(self, store: SessionStore) -> None:
        """As `update` does; where the fork comes from, no caller says."""
        store.create("s", messages=conversation(1), metadata={**TITLE, "stays": {"x": [1, {}]}})
        changes = {"title": "Another", "tags": None, "new": "\u00e9\0", "never": None}
        info = store.fork("s", "t", metadata={**changes, "forked_from": "me"})
        assert (
            info.metadata
            == stored(store, "t").metadata
            == {
                "title": "Another",
                "cost": 1.50,
                "none": [],
                "stays": {"x": [1, {}]},
                "new": "\u00e9\0",
                "forked_from": {"session_id": "s", "message_id": "m0"},
            }
        )
        store.update("t", metadata={"forked_from": None, "title": None})
        assert "forked_from" not in stored(store, "t").metadata
        assert stored(store, "s").metadata["title"] == "Trip"

    def test_bad_metadata_makes_no_fork(self, store: SessionStore) -> None:
        """What is no JSON is refused, also where there is no session."""
        store.append_messages("s", conversation(1))
        for name in ("s", "missing"):
            with pytest.raises(InvalidSessionError):
                store.fork(name, "t", metadata={"a": {1}})
        assert store.get("t") is None

    def test_what_is_not_there_is_not_forked(self, store: SessionStore) -> None:
        """No session, or no such message: nothing is made."""
        store.append_messages("s", conversation(2))
        for call in (
            partial(store.fork, "missing", "t"),
            partial(store.fork, "missing", "missing"),
            partial(store.fork, "missing", "t", at="m0"),
            partial(store.fork, "s", "t", at="m2"),
            partial(store.fork, "s", "s", at="m2"),
        ):
            with pytest.raises(SessionNotFoundError):
                call()
        assert [info.id for info in store.list_sessions().sessions] == ["s"]

    def test_a_taken_id_is_refused(self, store: SessionStore) -> None:
        """That of the session itself, too; nothing is changed."""
        store.append_messages("s", conversation(2))
        store.create("t", messages=conversation(1), metadata=TITLE)
        before = stored(store, "s"), stored(store, "t")
        for new in ("t", "s"):
            for at in (None, "m0"):
                with pytest.raises(SessionExistsError):
                    store.fork("s", new, at=at, metadata={"a": 1})
        assert (stored(store, "s"), stored(store, "t")) == before
        store.delete("t")
        assert store.fork("s", "t").version == 1

    def test_another_users_session_is_neither_forked_nor_replaced(
        self, store: SessionStore
    ) -> None:
        """Nothing is made, and the error tells nothing."""
        store.create("s", user_id="alice", messages=conversation(2))
        store.create("open", messages=conversation(2))
        store.create("eves", user_id="eve", messages=conversation(1))
        before = stored(store, "eves")
        calls: list[Callable[[], Any]] = [
            partial(store.fork, "s", "t", user_id="eve"),
            partial(store.fork, "s", "t", at="nope", user_id="eve"),
            partial(store.fork, "s", "s", user_id="eve"),
            partial(store.fork, "s", "eves", user_id="eve"),
            partial(store.fork, "s", "eves", user_id="alice"),
            partial(store.fork, "open", "eves", user_id="alice"),
        ]
        shown = set()
        for call in calls:
            with pytest.raises(SessionAccessError) as caught:
                call()
            shown.add(str(caught.value))
        assert len(shown) == 1
        for source in ("s", "open"):
            with pytest.raises(SessionExistsError):
                store.fork(source, "eves")  # without a user nothing is checked
        assert (store.get("t"), stored(store, "eves")) == (None, before)

    def test_a_fork_belongs_to_the_owner_of_the_session(self, store: SessionStore) -> None:
        """Whoever makes it: one of an open session is open."""
        store.create("s", user_id="alice", messages=conversation(2))
        store.create("open", messages=conversation(2))
        assert store.fork("s", "a", user_id="alice").user_id == "alice"
        assert store.fork("s", "b").user_id == "alice"
        assert store.fork("open", "c", user_id="eve").user_id is None
        with pytest.raises(SessionAccessError):
            store.get("b", user_id="eve")
        assert store.append_message("c", said("x"), user_id="bob") == 1
        mine = store.list_sessions(user_id="alice").sessions
        assert [info.id for info in mine] == ["b", "a", "s"]

    def test_any_id_can_be_forked(self, store: SessionStore) -> None:
        """Of sessions and of messages: whatever is in them."""
        nasty = [name for name in NASTY_IDS if len(name) < 500]
        for place, name in enumerate(nasty):
            new, last = f"fork of {name}", f"m{name}"
            store.append_messages(name, [said("first", "f"), said("last", last)])
            origin = {"session_id": name, "message_id": last}
            assert store.fork(name, new).metadata == {"forked_from": origin}
            assert ids(store.get_messages(new)) == ["f", last]
            assert store.fork(name, f"{new} at", at=last).metadata == {"forked_from": origin}
            store.update(new, metadata={"place": place})
            assert stored(store, new).metadata == {"forked_from": origin, "place": place}
        assert len(store.get_messages(nasty[0])) == 2

    def test_all_of_a_message_is_copied(self, store: SessionStore) -> None:
        """Every field comes back equal."""
        call = {"name": "add", "args": {"a": 1.0, "b": []}, "id": "c"}
        log = [
            SessionMessage(
                "assistant",
                [{"type": "text", "text": "\0 \u00e9 \U0001f642"}],
                id="m",
                name="N",
                tool_calls=[call],  # type: ignore[list-item]
                metadata={"x": 10**15, "y": {}},
                extra={"langchain": {"z": []}},
            ),
            SessionMessage("tool", "2", id="r", tool_call_id="c"),
        ]
        store.append_messages("s", log)
        store.fork("s", "t")
        assert store.get_messages("t") == log == store.get_messages("s")

    def test_racing_forks_have_one_winner(self, stores: Stores) -> None:
        """Of forks to one id one makes it, whole, and the others get an error."""
        store = stores.open()
        logs = {"a": conversation(3), "b": conversation(5)}
        for source, log in logs.items():
            store.append_messages(source, log)
        for new in ("t", "u", "v"):
            forks = [partial(store.fork, source, new) for source in ("a", "b", "a", "b")]
            outcomes = stores.at_once(*(partial(attempt, f, SessionExistsError) for f in forks))
            [winner] = [made for made in outcomes if not isinstance(made, Exception)]
            origin = winner.metadata["forked_from"]["session_id"]
            assert stored(store, new).messages == logs[origin]

    def test_forks_in_both_directions_and_writes_wait_for_nobody_for_good(
        self, stores: Stores
    ) -> None:
        """Each is answered: no two wait for each other."""
        store = stores.open()

        def work(one: str, other: str, number: int) -> None:
            for turn in range(6):
                for call in (
                    partial(store.append_message, one, said("x")),
                    partial(store.fork, one, other),
                    partial(store.fork, one, f"{number} {turn}"),
                    partial(store.update, other, metadata={"a": turn}),
                    partial(store.delete, other),
                ):
                    attempt(call, SessionExistsError, SessionNotFoundError)

        stores.at_once(
            *(partial(work, *pair, n) for n, pair in enumerate((("a", "b"), ("b", "a")) * 2))
        )
        for info in store.list_sessions(limit=100).sessions:
            assert len(store.get_messages(info.id)) == info.message_count

    def test_a_fork_beside_writers_has_what_was_there_at_one_moment(self, stores: Stores) -> None:
        """Whole batches, without a gap; and what was acknowledged before."""
        store = stores.open()
        store.append_messages("s", [said("", f"0-{place}") for place in range(3)])

        def write() -> None:
            for number in range(1, 12):
                store.append_messages("s", [said("", f"{number}-{place}") for place in range(3)])
                store.replace_message("s", said("", f"{number}-1"))

        def fork() -> None:
            for _ in range(8):
                least_there = len(store.get_messages("s"))
                info = store.fork("s")
                copied = ids(store.get_messages(info.id))
                assert len(copied) == info.message_count >= least_there
                assert info.metadata["forked_from"]["message_id"] == copied[-1]
                expected = [f"{n}-{place}" for n in range(len(copied) // 3) for place in range(3)]
                assert copied == expected

        stores.at_once(write, fork, fork)

    def test_a_cancelled_fork_is_settled(self, open_store: OpenStore) -> None:
        """Whenever it is cancelled: the new session is whole or not there, and stays so."""
        self.require_support("cancellation")
        log = conversation(30)

        async def main(store: SessionStore) -> None:
            chance = random.Random(0)  # noqa: S311 - when to cancel is no secret
            await store.aappend_messages("s", log)
            start = time.perf_counter()
            await store.afork("s")
            usual = time.perf_counter() - start
            for number in range(CANCELS):
                new, at = f"fork {number}", 1 + number % 30
                call = asyncio.ensure_future(store.afork("s", new, at=f"m{at - 1}"))
                end = time.perf_counter() + chance.uniform(0, 2 * usual)
                while not call.done() and time.perf_counter() < end:  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0)
                call.cancel()
                with suppress(asyncio.CancelledError):
                    await call
                made = await store.aget(new)
                assert made is None or made.messages == log[:at]
                await store.aappend_message("other", said("hello"))
                assert await store.aget(new) == made
                if made is None:
                    assert (await store.afork("s", new)).message_count == 30
                assert await store.aget_messages("s") == log

        in_a_loop(open_store, main)

    def test_a_fork_is_an_operation_on_two_sessions(self, store: SessionStore) -> None:
        """Which `run` takes, and a list of operations does not."""
        store.append_messages("s", conversation(2))
        assert store.run(Fork("s", "t", "m0")).message_count == 1
        with pytest.raises(SessionStoreError, match="Fork can't be in a list"):
            store.run([Get("s"), Fork("s", "u")])
        assert store.get("u") is None


class ForkVolumeContract(StoreSuite):
    """A fork has no bound of its own: guarantee 6."""

    def test_a_long_session_is_forked(self, store: SessionStore) -> None:
        """100,000 messages are forked; 20,000 at an early message, too."""
        self.require_support("flat_cost")
        log = conversation(MANY)
        for start in range(0, MANY, 10_000):
            store.append_messages("s", log[start : start + 10_000])
        assert store.fork("s", "t").message_count == MANY
        assert ids(store.get_messages("t")) == ids(log)
        assert store.fork("s", "early", at=f"m{LONG - 1}").message_count == LONG
        assert ids(store.get_messages("early")) == ids(log[:LONG])
        assert store.append_messages("t", [said("", "m1"), said("", "new")]) == 1
        assert store.append_messages("early", log[LONG - 1 : LONG + 1]) == 1
