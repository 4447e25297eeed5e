"""Leases: one holder at a time, and no write of one that was lost."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any

import pytest

from sessionstore.errors import (
    InvalidSessionError,
    SessionAccessError,
    SessionConflictError,
    SessionLeasedError,
)
from sessionstore.leases import Lease
from sessionstore.operations import (
    AcquireLease,
    Append,
    Fence,
    Get,
    GetMessages,
    ReleaseLease,
    RenewLease,
)
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite
from sessionstore.testing.processes import in_a_process
from sessionstore.testing.samples import NASTY_IDS, conversation, ids, said, stored
from sessionstore.testing.waiting import wait_until

__all__ = ["LeaseContract", "SharedLeaseContract"]

_SHORT, _LONG = 0.05, 600.0
_PATIENCE = 60.0
_FEW = 10

Write = Callable[[SessionStore, Lease], Any]
_WRITES: dict[str, tuple[Write, Any]] = {
    "append_message": (lambda store, lease: store.append_message("s", said("x"), lease=lease), 1),
    "append_messages": (
        lambda store, lease: store.append_messages("s", [said("x"), said("y")], lease=lease),
        2,
    ),
    "replace_message": (
        lambda store, lease: store.replace_message("s", said("x", "m1"), lease=lease),
        None,
    ),
    "delete_messages": (
        lambda store, lease: store.delete_messages("s", ["m1"], lease=lease),
        ["m1"],
    ),
    "rewind": (lambda store, lease: store.rewind("s", to="m1", lease=lease), ["m2"]),
    "update": (lambda store, lease: store.update("s", messages=[], lease=lease).version, 2),
    "update, metadata": (
        lambda store, lease: store.update("s", metadata={"a": 1}, lease=lease).metadata,
        {"a": 1},
    ),
    "delete": (lambda store, lease: store.delete("s", lease=lease), True),
}
_each_write = pytest.mark.parametrize("name", _WRITES)


def _expired(store: SessionStore) -> Lease:
    lease = store.lease("s", seconds=_SHORT).__enter__()
    with store.lease("s", wait=_PATIENCE):
        pass
    return lease


def _taken_over(store: SessionStore) -> Lease:
    lease = store.lease("s", seconds=_LONG).__enter__()
    store.lease("s", seconds=_LONG, take_over=True).__enter__()
    return lease


def _released(store: SessionStore) -> Lease:
    with store.lease("s", seconds=_LONG) as lease:
        pass
    return lease


_each_loss = pytest.mark.parametrize("lose", [_expired, _taken_over, _released])


class LeaseContract(StoreSuite):
    """`lease`: one turn at a time, with a fence."""

    def test_one_has_it_at_a_time(self, stores: Stores) -> None:
        """Another is refused, is told for how long, and has it when it is given back."""
        self.require_support("leases")
        one = two = stores.open()
        with one.lease("s", seconds=_LONG):
            with pytest.raises(SessionLeasedError) as refused:
                two.lease("s").__enter__()
            left = refused.value.seconds_left
            assert left is not None
            assert 0 < left <= _LONG
            with two.lease("t", seconds=_LONG), two.lease("S"):
                pass
        with two.lease("s"):
            pass

    def test_it_needs_no_session_and_makes_none(self, store: SessionStore) -> None:
        """A first turn can be leased, too."""
        self.require_support("leases")
        with store.lease("s") as lease:
            assert store.get("s") is None
            assert store.list_sessions().sessions == []
            assert store.append_message("s", said("x"), user_id="u", lease=lease) == 1
        assert stored(store, "s").user_id == "u"

    @_each_write
    def test_a_write_under_a_lease_that_is_held(self, store: SessionStore, name: str) -> None:
        """It does what it does without one, and leaves the lease as it is."""
        self.require_support("leases")
        store.create("s", messages=conversation(3))
        write, result = _WRITES[name]
        with store.lease("s", seconds=_LONG) as lease:
            assert write(store, lease) == result
            store.run(Fence("s", lease.token))
            with pytest.raises(SessionLeasedError):
                store.lease("s").__enter__()

    @_each_loss
    @_each_write
    def test_no_write_of_a_lease_that_was_lost(
        self, store: SessionStore, name: str, lose: Callable[[SessionStore], Lease]
    ) -> None:
        """Nothing is written, whoever holds the session now, if anybody does."""
        self.require_support("leases")
        before = store.create("s", messages=conversation(3))
        lease = lose(store)
        for _ in range(2):
            with pytest.raises(SessionLeasedError) as refused:
                _WRITES[name][0](store, lease)
            assert refused.value.seconds_left is None
        assert stored(store, "s") == before

    @_each_loss
    def test_what_was_lost_is_not_renewed_and_left_without_error(
        self, store: SessionStore, lose: Callable[[SessionStore], Lease]
    ) -> None:
        """And who holds it now goes on holding it."""
        self.require_support("leases")
        lease = lose(store)
        with pytest.raises(SessionLeasedError):
            lease.renew()
        lease.release()
        if lose is _taken_over:
            with pytest.raises(SessionLeasedError):
                store.lease("s").__enter__()
        else:
            with store.lease("s"):
                pass

    def test_tokens_grow(self, store: SessionStore) -> None:
        """Also when the session is deleted, and when the lease was lost in any way."""
        self.require_support("leases")
        tokens = [lose(store).token for lose in (_released, _expired)]
        store.create("s")
        with store.lease("s") as lease:
            tokens.append(lease.token)
            assert store.delete("s", lease=lease)
        with store.lease("s", seconds=_LONG) as lease:
            lease.renew()
            with store.lease("s", take_over=True) as other:
                tokens += [lease.token, other.token]
        with store.lease("s") as lease:
            tokens.append(lease.token)
        assert sorted(set(tokens)) == tokens
        assert all(0 < token < 2**63 for token in tokens)

    def test_a_renewed_lease_lasts(self, store: SessionStore) -> None:
        """From now on as long as it says: here ever longer."""
        self.require_support("leases")
        lease = store.lease("s", seconds=_LONG).__enter__()
        store.run(RenewLease("s", lease.token, 2 * _LONG))
        with pytest.raises(SessionLeasedError) as refused:
            store.lease("s").__enter__()
        assert refused.value.seconds_left is not None
        assert refused.value.seconds_left > _LONG
        store.run(RenewLease("s", lease.token, _SHORT))
        with store.lease("s", wait=_PATIENCE) as other:
            assert other.token > lease.token

    def test_who_holds_it_may_ask_again(self, store: SessionStore) -> None:
        """As after a lost answer: the token is the same; a release is of its holder only."""
        self.require_support("leases")
        mine = AcquireLease("s", _LONG, holder="me")
        token = store.run(mine)
        assert store.run(mine) == token
        assert store.run(AcquireLease("s", _LONG, None, True, "me")) == token
        with pytest.raises(SessionLeasedError):
            store.run(AcquireLease("s", _LONG, holder="other"))
        assert store.run(ReleaseLease("s", "other")) is False
        store.run(Fence("s", token))
        assert store.run(ReleaseLease("s", "me")) is True
        assert store.run(ReleaseLease("s", "me")) is False
        with pytest.raises(SessionLeasedError):
            store.run(Fence("s", token))
        assert store.run(mine) > token

    def test_who_carries_none_is_not_held_up(self, store: SessionStore) -> None:
        """A lease is an agreement of those who ask for it."""
        self.require_support("leases")
        with store.lease("s", seconds=_LONG):
            store.append_messages("s", conversation(3))
            store.rewind("s", to="m0")
            assert store.delete("s")

    def test_a_lease_of_another_users_session(self, store: SessionStore) -> None:
        """It is refused, and held by nobody."""
        self.require_support("leases")
        store.create("s", user_id="u")
        with pytest.raises(SessionAccessError):
            store.lease("s", user_id="v").__enter__()
        with pytest.raises(SessionAccessError):
            store.lease("s", user_id="v", take_over=True).__enter__()
        with store.lease("s", seconds=_LONG, user_id="u") as lease:
            for token in (lease.token, lease.token + 1):  # known from elsewhere, or guessed
                with pytest.raises(SessionAccessError):
                    store.run(RenewLease("s", token, _SHORT, "v"))
            with pytest.raises(SessionAccessError):
                store.append_message("s", said("x"), user_id="v", lease=lease)
            assert store.append_message("s", said("x"), user_id="u", lease=lease) == 1

    def test_several_operations_under_a_lease(self, store: SessionStore) -> None:
        """The fence may stand before reads and writes, and anywhere among them."""
        self.require_support("leases")
        log = conversation(3)
        with store.lease("s", seconds=_LONG) as lease:
            work = [GetMessages("s"), lease.fence(), Append("s", log), lease.fence(), Get("s", 1)]
            [before, _, added, _, session] = store.run(work)
            assert (before, added, session.messages) == ([], 3, log[-1:])
            assert store.run([lease.fence(), GetMessages("s")]) == [None, log]
            with pytest.raises(SessionConflictError):
                store.run([lease.fence(), Append("s", [said("x")], expected_version=7)])
        for late in ([lease.fence(), GetMessages("s")], [Append("s", [said("x")]), lease.fence()]):
            with pytest.raises(SessionLeasedError):
                store.run(late)
        assert ids(store.get_messages("s")) == ids(log)

    def test_each_turn_finds_what_the_one_before_it_did(self, stores: Stores) -> None:
        """Read, think, and write: of turns that wait for each other none is lost."""
        self.require_support("leases")
        store = stores.open()
        store.create("s", metadata={"count": 0})

        def turns() -> None:
            for _ in range(5):
                with store.lease("s", seconds=_LONG, wait=_PATIENCE) as lease:
                    count = stored(store, "s").metadata["count"]
                    store.update("s", metadata={"count": count + 1}, lease=lease)

        stores.at_once(*[turns] * 3)
        assert stored(store, "s").metadata == {"count": 15}

    @pytest.mark.parametrize("session_id", ["s0", "s1", "s2"])
    def test_no_write_lands_behind_a_take_over(self, stores: Stores, session_id: str) -> None:
        """What was acknowledged under the old lease is there by then; nothing comes late."""
        self.require_support("leases")
        store = stores.open()
        lease = store.lease(session_id, seconds=_LONG).__enter__()
        acknowledged: list[str] = []

        def write(name: str) -> list[str]:
            with suppress(SessionLeasedError):
                for number in count():
                    message = said("x", f"{name}{number}")
                    store.append_message(session_id, message, lease=lease)
                    acknowledged.append(f"{name}{number}")
            return []

        def take_over() -> list[str]:
            wait_until(lambda: len(acknowledged) > _FEW)
            store.lease(session_id, seconds=_LONG, take_over=True).__enter__()
            return list(map(str, ids(store.get_messages(session_id))))

        *_, there = stores.at_once(partial(write, "a"), partial(write, "b"), take_over)
        assert sorted(there) == sorted(acknowledged)
        assert ids(store.get_messages(session_id)) == there

    def test_any_session_can_be_leased(self, store: SessionStore) -> None:
        """Two ids never meet."""
        self.require_support("leases")
        taken = [store.lease(session_id, seconds=_LONG).__enter__() for session_id in NASTY_IDS]
        for lease in taken:
            store.run(Fence(lease.session_id, lease.token))
            with pytest.raises(SessionLeasedError):
                store.lease(lease.session_id).__enter__()

    def test_what_is_no_lease(self, store: SessionStore) -> None:
        """It is refused before anything is sent."""
        self.require_support("leases")
        bad: list[dict[str, Any]] = [{"seconds": 0}, {"seconds": "1"}, {"seconds": 10**6}]
        for options in [*bad, {"wait": -1}]:
            with pytest.raises(InvalidSessionError):
                store.lease("s", **options)
        with pytest.raises(InvalidSessionError):
            store.lease("")
        with pytest.raises(InvalidSessionError):
            store.append_message("s", said("x"), lease=store.lease("s"))
        with store.lease("t") as lease:
            with pytest.raises(InvalidSessionError):
                store.append_message("s", said("x"), lease=lease)
            with pytest.raises(InvalidSessionError):
                lease.__enter__()
        with lease:  # another one, by its token
            pass
        with pytest.raises(InvalidSessionError):
            store.append_message("s", said("x"), lease=7)  # type: ignore[arg-type]
        assert store.get("s") is None


class SharedLeaseContract(StoreSuite):
    """Leases of processes that are gone."""

    def test_a_lease_outlives_its_process_and_runs_out(
        self, stores: Stores, open_store: OpenStore
    ) -> None:
        """Nobody gives it back; its time does."""
        self.require_support("leases", "processes")
        token = in_a_process(_take, open_store)
        store = stores.open()
        with store.lease("s", wait=_PATIENCE) as lease:
            assert lease.token > token
            with pytest.raises(SessionLeasedError):
                store.run(Fence("s", token))

    def test_a_lease_is_held_across_a_restart(self, stores: Stores) -> None:
        """Who knows its token goes on with it."""
        self.require_support("leases")
        one = stores.open()
        token = one.run(AcquireLease("s", _LONG, holder="me"))
        one.close()
        two = stores.open()
        with pytest.raises(SessionLeasedError):
            two.lease("s").__enter__()
        two.run([Fence("s", token), Append("s", [said("x")])])
        assert two.run(AcquireLease("s", _LONG, holder="me")) == token


def _take(open_store: Callable[..., SessionStore]) -> int:
    return open_store().run(AcquireLease("s", 1.0, holder="me"))
