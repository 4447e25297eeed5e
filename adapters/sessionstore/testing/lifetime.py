"""A store's life: from any thread and event loop, to its end, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest

from sessionstore.bounds import StoreBounds
from sessionstore.errors import SessionStoreError, StoreUnavailableError
from sessionstore.models import encode_message
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said, stored

__all__ = ["LifetimeContract", "RestartContract"]

CALLS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("create", ("new",)),
    ("get", ("s",)),
    ("get_messages", ("s",)),
    ("append_message", ("s", said("hello"))),
    ("append_messages", ("new", [said("hello")])),
    ("append_messages", ("s", [])),
    ("replace_message", ("s", said("hello", "m0"))),
    ("delete_messages", ("s", ["m0"])),
    ("delete_messages", ("s", [])),
    ("update", ("s",)),
    ("delete", ("s",)),
    ("list_sessions", ()),
    ("prune_expired", ()),
    ("ping", ()),
    ("setup", ()),
)


def _run(method: Callable[..., Coroutine[Any, Any, object]], *args: Any) -> object:
    return asyncio.run(method(*args))


class LifetimeContract(StoreSuite):
    """A store is used from wherever the caller is, and closed."""

    def test_ping_is_answered(self, store: SessionStore) -> None:
        """A store that is there answers, again and again."""
        for _ in range(3):
            store.ping()

    def test_it_says_how_long_a_call_may_take(self, open_store: OpenStore) -> None:
        """In seconds, or ``None``; before the first use, and as it is in the end."""
        with open_store() as store:
            before = store.timeout
            assert before is None or (type(before) in (int, float) and before >= 0)
            store.ping()
            assert store.timeout == before

    def test_it_says_how_large_a_write_may_be(self, open_store: OpenStore) -> None:
        """What is within its bounds it takes."""
        with open_store() as store:
            bounds = store.bounds
            assert type(bounds) is StoreBounds
            for bound in (bounds.messages, bounds.message_bytes, bounds.write_bytes):
                assert bound is None or (type(bound) is int and bound > 0)
            log = conversation(2)
            bounds.require([encode_message(message) for message in log])
            assert store.append_messages("s", log) == 2

    def test_closing_twice_is_fine(self, stores: Stores) -> None:
        """The second time nothing happens."""
        store = stores.open()
        store.create("s")
        store.close()
        store.close()

    def test_a_store_never_used_can_be_closed(self, stores: Stores) -> None:
        """There is nothing to close."""
        store = stores.open()
        store.close()
        store.close()

    def test_close_works_after_sync_and_async_calls(self, open_store: OpenStore) -> None:
        """Either closes all that both have opened."""
        first, second = open_store(), open_store()

        async def write(store: SessionStore) -> None:
            await store.aappend_message("s", said("hello"))
            await store.aget("s")

        for store in (first, second):
            asyncio.run(write(store))
            store.append_message("s", said("hello"))
        first.close()
        asyncio.run(first.aclose())
        asyncio.run(second.aclose())
        second.close()

    @pytest.mark.parametrize("used", [False, True], ids=["never used", "used"])
    @pytest.mark.parametrize("close", ["close", "aclose"])
    def test_a_closed_store_refuses(self, open_store: OpenStore, close: str, used: bool) -> None:
        """Every later call, sync and async; and to try again would not help."""
        store = open_store()
        if used:
            store.create("s", messages=conversation(2))
            asyncio.run(store.aappend_message("s", said("hello")))
        closed = getattr(store, close)()
        if closed is not None:
            asyncio.run(closed)
        for name, args in CALLS:
            for call in (getattr(store, name), partial(_run, getattr(store, f"a{name}"))):
                with pytest.raises(SessionStoreError) as caught:
                    call(*args)
                assert not isinstance(caught.value, StoreUnavailableError), name

    def test_a_with_block_closes_the_store(self, open_store: OpenStore) -> None:
        """The block gets the store, and an error in it comes out as it is."""
        error = KeyError("of the caller")
        with pytest.raises(KeyError) as caught, open_store() as store:  # noqa: PT012
            assert store.append_message("s", said("hello")) == 1
            raise error
        assert caught.value is error
        store.close()

    def test_an_async_with_block_closes_the_store(self, open_store: OpenStore) -> None:
        """The same, async."""
        error = KeyError("of the caller")

        async def main() -> None:
            async with open_store() as store:
                assert await store.aappend_message("s", said("hello")) == 1
                raise error

        with pytest.raises(KeyError) as caught:
            asyncio.run(main())
        assert caught.value is error

    def test_a_store_serves_several_event_loops(self, open_store: OpenStore) -> None:
        """A store is of no loop: it goes on in the next one, and in between without any."""
        with open_store() as store:
            for number in range(3):
                assert asyncio.run(store.aappend_message("s", said(f"async {number}"))) == 1
                assert store.append_message("s", said(f"sync {number}")) == 1
            read = contents(asyncio.run(store.aget_messages("s")))
            assert read == [f"{mode} {n}" for n in range(3) for mode in ("async", "sync")]

    def test_sync_calls_work_within_a_running_loop(self, open_store: OpenStore) -> None:
        """As from a notebook's cell: they block, and they work."""

        async def main(store: SessionStore) -> None:
            store.append_message("s", said("sync"))
            await store.aappend_message("s", said("async"))
            assert contents(store.get_messages("s")) == ["sync", "async"]

        with open_store() as store:
            asyncio.run(main(store))

    def test_a_store_serves_one_thread_after_another(self, stores: Stores) -> None:
        """A store is of no thread either."""
        store = stores.open()
        log = conversation(4)
        for message in log:
            stores.at_once(partial(store.append_message, "s", message))
        assert stores.at_once(lambda: store.get_messages("s")) == [log]

    def test_a_store_works_on_after_a_cancelled_call(self, open_store: OpenStore) -> None:
        """It leaves all or nothing, and the store goes on: guarantee 1."""
        self.require_support("cancellation")

        async def main() -> None:
            async with open_store() as store:
                for pauses in range(12):
                    await check(store, f"s{pauses}", pauses)

        async def check(store: SessionStore, session_id: str, pauses: int) -> None:
            task = asyncio.ensure_future(store.aappend_messages(session_id, conversation(50)))
            for _ in range(pauses):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await store.aappend_message(session_id, said("after"))
            kept = await store.aget_messages(session_id)
            assert len(kept) in (1, 51)
            whole = [f"m{number}" for number in range(50)]
            assert [held for held in ids(kept) if held in whole] in ([], whole)
            assert await store.aget(session_id) is not None

        asyncio.run(main())

    def test_no_repr_shows_what_a_user_wrote(self, open_store: OpenStore) -> None:
        """Neither that of the store nor of what it gives."""
        with open_store() as store:
            made = store.create("s", messages=[said("s3cret")], metadata={"title": "s3cret"})
            shown = [store, made, *made.messages, stored(store, "s"), store.list_sessions()]
            assert "s3cret" not in repr(shown)


class RestartContract(StoreSuite):
    """What one store has written, another one over the same storage reads."""

    def test_a_restart_loses_nothing(self, stores: Stores) -> None:
        """Closed and opened again, all is as it was: guarantee 1."""
        first = stores.open()
        first.create("s", agent_id="a", user_id="u", messages=conversation(3), metadata={"a": 1})
        first.append_message("s", said("more"))
        before, page = stored(first, "s"), first.list_sessions()
        first.close()
        second = stores.open()
        assert second.get("s") == before
        assert second.list_sessions() == page
        assert second.append_messages("s", before.messages) == 0

    def test_sync_and_async_read_what_the_other_wrote_before_a_restart(
        self, open_store: OpenStore
    ) -> None:
        """What was written in one is read in the other."""
        log = conversation(3)

        async def write() -> None:
            async with open_store() as store:
                await store.aappend_messages("s", log)

        async def read() -> None:
            async with open_store() as store:
                assert await store.aget_messages("t") == log

        asyncio.run(write())
        with open_store() as store:
            assert store.get_messages("s") == log
            store.append_messages("t", log)
        asyncio.run(read())

    def test_two_stores_see_each_other(self, stores: Stores) -> None:
        """Whatever one has done, the other reads at once."""
        one, other = stores.open(), stores.open()
        steps: list[Callable[[SessionStore], object]] = [
            lambda store: store.create("s", messages=conversation(2)),
            lambda store: store.append_message("s", said("more", "x")),
            lambda store: store.replace_message("s", said("better", "x")),
            lambda store: store.update("s", metadata={"a": 1}),
            lambda store: store.update("s", messages=[]),
            lambda store: store.delete("s"),
        ]
        for step in steps:
            step(one)
            assert other.get("s") == one.get("s")
            assert other.get_messages("s", limit=1) == one.get_messages("s", limit=1)
            assert other.list_sessions() == one.list_sessions()
            one, other = other, one

    def test_a_closed_store_leaves_the_other_open(self, stores: Stores) -> None:
        """Each closes what it opened itself."""
        one, other = stores.open(), stores.open()
        one.create("s")
        other.create("t")
        one.close()
        assert other.append_message("s", said("hello")) == 1
