"""What a store is asked about itself: to be set up, and what it has counted."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from sessionstore.errors import SessionAccessError, SessionExistsError, SessionNotFoundError
from sessionstore.operations import Append, Get, GetMessages
from sessionstore.stats import StoreStats
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite
from sessionstore.testing.processes import COUNT, ProcessContract, Processes
from sessionstore.testing.samples import contents, said
from sessionstore.wrapper import WrapperSessionStore

__all__ = ["SetupContract", "SharedSetupContract", "StatsContract"]

_THREADS, _TIMES = 8, 50


class SetupContract(StoreSuite):
    """`setup` does what the first use would, as often as it is asked for."""

    def test_a_store_is_set_up_before_its_first_use(self, store: SessionStore) -> None:
        """And then it is used as ever."""
        store.setup()
        assert store.append_message("s", said("hello")) == 1
        assert contents(store.get_messages("s")) == ["hello"]

    def test_to_set_it_up_again_changes_nothing(self, store: SessionStore) -> None:
        """Whatever is there stays as it is."""
        made = store.create("s", messages=[said("hello")], user_id="alice")
        for _ in range(3):
            store.setup()
        assert store.get("s") == made
        assert [info.id for info in store.list_sessions().sessions] == ["s"]

    def test_it_is_set_up_by_many_at_once(self, stores: Stores) -> None:
        """Each of them may use it then."""
        store = stores.open()

        def use(number: int) -> int:
            store.setup()
            return store.append_message("s", said(f"{number}"))

        assert stores.at_once(*(partial(use, number) for number in range(_THREADS))) == [1] * 8
        assert len(store.get_messages("s")) == _THREADS


class SharedSetupContract(ProcessContract):
    """The same, for a storage that outlives the store."""

    def test_what_one_has_set_up_another_uses(self, stores: Stores) -> None:
        """And sets up, too."""
        stores.open().setup()
        other = stores.open()
        other.append_message("s", said("hello"))
        stores.open().setup()
        assert len(other.get_messages("s")) == 1

    def test_processes_set_up_a_new_storage_at_once(
        self, open_store: OpenStore, processes: Processes
    ) -> None:
        """None fails because of another."""
        for mode in ("sync", "async"):
            assert processes.at_once(_set_up, open_store, mode) == [1] * COUNT
            with open_store() as store:
                assert len(store.get_messages(mode)) == COUNT


def _set_up(open_store: OpenStore, mode: str, number: int) -> int:
    with Stores(open_store, mode) as stores:
        store = stores.open()
        store.setup()
        return store.append_message(mode, said(f"{number}"))


class StatsContract(StoreSuite):
    """`stats` counts what was asked for, sync and async, and what was raised."""

    def test_operations_are_counted_by_name(self, open_store: OpenStore) -> None:
        """Sync and async ones together, whether by a method or by `run`; a list is one."""
        with open_store() as store:
            assert (store.stats().operations, store.stats().errors) == ({}, {})
            store.append_message("s", said("a"))
            store.run(Append("s", [said("b")]))
            asyncio.run(store.aappend_messages("s", [said("c")]))
            store.get("s")
            store.run([Get("s"), GetMessages("s")])
            asyncio.run(store.arun((Get("s"), Append("s", [said("d")]))))
            assert store.stats().operations == {"Append": 3, "Get": 1, "Several": 2}
            assert store.stats().errors == {}

    def test_errors_are_counted_by_class(self, open_store: OpenStore) -> None:
        """The operation counts, too; what was never asked for does not."""
        with open_store() as store:
            store.create("s", user_id="alice")
            for call in (store.get, lambda *a, **k: asyncio.run(store.aget(*a, **k))):
                with pytest.raises(SessionAccessError):
                    call("s", user_id="eve")
            with pytest.raises(SessionExistsError):
                asyncio.run(store.acreate("s"))
            with pytest.raises(SessionNotFoundError):
                store.update("t")
            with pytest.raises(ValueError, match="session_id"):
                store.get("")
            stats = store.stats()
        names = (SessionAccessError, SessionExistsError, SessionNotFoundError)
        assert stats.errors == {name.__name__: 1 + (name is SessionAccessError) for name in names}
        assert stats.operations == {"Create": 2, "Get": 2, "Update": 1}

    def test_connections_are_given_back(self, open_store: OpenStore) -> None:
        """None is in use between two calls, and there are no more than there may be."""
        with open_store() as store:
            store.append_message("s", said("a"))
            store.get("s")
            counted = store.stats().connections
            if counted is not None:
                assert counted.in_use == 0
                assert counted.idle >= 1
                assert counted.most is None or counted.most >= counted.idle

    def test_no_count_is_lost(self, stores: Stores, open_store: OpenStore) -> None:
        """However many threads and loops count at once."""
        with open_store() as store:

            def count() -> None:
                for _ in range(_TIMES):
                    if stores.mode == "sync":
                        store.get("s")
                    else:
                        asyncio.run(store.aget("s"))

            stores.at_once(*[count] * _THREADS)
            assert store.stats().operations == {"Get": _THREADS * _TIMES}

    def test_a_store_in_good_order_says_so(self, open_store: OpenStore) -> None:
        """Also one without a fallback: whoever asks for its health need not know which it is."""
        with open_store() as store:
            store.append_message("s", said("hello"))
            stats = store.stats()
            assert isinstance(stats, StoreStats)
            assert stats.is_degraded is store.is_degraded() is False
            assert (stats.degraded_since, stats.pending, stats.rejected) == (None, 0, 0)
            assert stats.events == ()
            assert store.recover() is True
            assert asyncio.run(store.arecover()) is True

    def test_a_wrapper_tells_what_the_store_within_it_tells(self, open_store: OpenStore) -> None:
        """And sets it up."""
        with WrapperSessionStore(open_store()) as store:
            store.setup()
            asyncio.run(store.asetup())
            store.session("s", user_id="alice").append(said("hello"))
            assert store.stats() == store.wrapped.stats()
            assert store.stats().operations == {"Setup": 2, "Append": 1}
            assert store.timeout == store.wrapped.timeout
            assert store.is_degraded() is False
            assert store.recover() is True

    def test_a_closed_store_tells_what_it_has_counted(self, open_store: OpenStore) -> None:
        """It asks nobody for it."""
        with open_store() as store:
            store.append_message("s", said("hello"))
        assert store.stats().operations == {"Append": 1}
