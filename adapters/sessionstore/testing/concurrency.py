"""Many writers and readers at once, in threads and in tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from sessionstore.errors import SessionConflictError
from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite
from sessionstore.testing.samples import contents, conversation, ids, said, stored

__all__ = ["ConcurrencyContract", "batches_of", "require_whole_log"]

BATCH = 3


def batches_of(writer: int, count: int) -> list[list[SessionMessage]]:
    """Make a writer's batches, whose messages name writer, batch and place."""
    return [
        [said(f"{writer} {batch} {place}", f"{writer}-{batch}-{place}") for place in range(BATCH)]
        for batch in range(count)
    ]


def require_whole_log(log: Sequence[SessionMessage], writers: int, count: int) -> None:
    """Check that nothing is lost, nothing is there twice, and no batch is split or too early."""
    places = [tuple(map(int, str(message.content).split())) for message in log]
    batches = [tuple(places[start : start + BATCH]) for start in range(0, len(places), BATCH)]
    for batch in batches:
        assert [place for _, _, place in batch] == list(range(BATCH)), "a batch is split"
        assert len({(writer, number) for writer, number, _ in batch}) == 1, "two batches are mixed"
    for writer in range(writers):
        numbers = [batch[0][1] for batch in batches if batch[0][0] == writer]
        assert numbers == list(range(count)), f"writer {writer}: lost, twice, or out of order"
    assert len(batches) == writers * count


class ConcurrencyContract(StoreSuite):
    """Guarantees 1 to 3 hold for any number of callers at once."""

    def test_writers_on_one_session_lose_nothing(self, stores: Stores) -> None:
        """8 writers in threads: nothing lost, nothing twice, no batch split, all in order."""
        store = stores.open()

        def write(writer: int) -> int:
            return sum(store.append_messages("s", batch) for batch in batches_of(writer, 8))

        added = stores.at_once(*(partial(write, writer) for writer in range(8)))
        assert added == [8 * BATCH] * 8
        require_whole_log(store.get_messages("s"), 8, 8)
        session = stored(store, "s")
        assert session.version == 64
        assert session.messages == store.get_messages("s")

    def test_writers_on_many_sessions_lose_nothing(self, stores: Stores) -> None:
        """8 writers in threads, each on all of 5 sessions in turn."""
        store = stores.open()

        def write(writer: int) -> None:
            for batch in batches_of(writer, 3):
                for number in range(5):
                    store.append_messages(f"s{(number + writer) % 5}", batch)

        stores.at_once(*(partial(write, writer) for writer in range(8)))
        for number in range(5):
            require_whole_log(store.get_messages(f"s{number}"), 8, 3)
        counts = [info.message_count for info in store.list_sessions().sessions]
        assert counts == [8 * 3 * BATCH] * 5

    def test_retries_at_once_add_each_message_once(self, stores: Stores) -> None:
        """One batch sent by many at the same time is added once: guarantee 2."""
        store = stores.open()
        for session_id in ("a", "b", "c"):
            log = conversation(6)
            send = partial(store.append_messages, session_id, log)
            assert sum(stores.at_once(*[send] * 6)) == 6
            assert store.get_messages(session_id) == log

    def test_overlapping_histories_at_once_add_each_message_once(self, stores: Stores) -> None:
        """Agents that hand back all they know, in turns of different length, add each once."""
        store = stores.open()
        log = conversation(20)

        def grow(step: int) -> int:
            return sum(store.append_messages("s", log[: n + 1]) for n in range(0, 20, step))

        added = stores.at_once(*(partial(grow, step) for step in (1, 2, 3, 4)))
        assert sum(added) == 20
        assert store.get_messages("s") == log

    def test_readers_see_whole_batches_while_others_write(self, stores: Stores) -> None:
        """Each read gives whole batches, and never takes back what an earlier one gave."""
        store = stores.open()
        total = 3 * 10 * BATCH

        def write(writer: int) -> list[list[str | None]]:
            for batch in batches_of(writer, 10):
                store.append_messages("s", batch)
            return []

        def read() -> list[list[str | None]]:
            seen: list[list[str | None]] = [[]]
            while len(seen[-1]) < total:
                seen.append(ids(store.get_messages("s")))
            return seen

        writers = [partial(write, writer) for writer in range(3)]
        outcomes = stores.at_once(*writers, read, read)
        log = ids(store.get_messages("s"))
        for seen in outcomes[len(writers) :]:
            for found in seen:
                assert len(found) % BATCH == 0
                assert found == log[: len(found)]
            assert seen == sorted(seen, key=len)

    def test_updates_are_seen_whole(self, stores: Stores) -> None:
        """Nobody reads the messages of one update and the metadata of another."""
        store = stores.open()
        store.create("s", messages=[said("0")] * 2, metadata={"by": "0"})

        def update(writer: str) -> None:
            for _ in range(10):
                store.update("s", messages=[said(writer)] * 2, metadata={"by": writer})

        def read() -> None:
            for _ in range(20):
                session = stored(store, "s")
                assert contents(session.messages) == [session.metadata["by"]] * 2

        stores.at_once(partial(update, "1"), partial(update, "2"), read, read)
        assert stored(store, "s").version == 21

    def test_metadata_merged_at_once_keeps_every_key(self, stores: Stores) -> None:
        """Each writer's key is there in the end."""
        store = stores.open()
        store.create("s")

        def update(writer: int) -> None:
            for number in range(4):
                store.update("s", metadata={f"{writer} {number}": writer})

        stores.at_once(*(partial(update, writer) for writer in range(6)))
        expected = {f"{writer} {number}": writer for writer in range(6) for number in range(4)}
        assert stored(store, "s").metadata == expected

    def test_deletes_and_appends_at_once_leave_whole_batches(self, stores: Stores) -> None:
        """A session is whole or gone: what is left is what came after the last delete."""
        store = stores.open()

        def append(writer: int) -> int:
            for batch in batches_of(writer, 8):
                assert store.append_messages("s", batch) == BATCH
            return 0

        def delete() -> int:
            return sum(store.delete("s") for _ in range(8))

        stores.at_once(partial(append, 0), partial(append, 1), delete)
        store.append_message("s", said("last", "last"))
        session = stored(store, "s")
        found = ids(session.messages)
        assert found == ids(store.get_messages("s"))
        assert len(found) % BATCH == 1
        assert session.version == len(found) // BATCH + 1
        for writer in "01":
            numbers = [str(held).split("-")[1] for held in found if str(held).startswith(writer)]
            assert numbers == sorted(numbers)

    def test_tasks_on_one_session_lose_nothing(self, open_store: OpenStore) -> None:
        """64 tasks of one loop: nothing lost, nothing twice, no batch split, all in order."""

        async def write(store: SessionStore, writer: int) -> None:
            for batch in batches_of(writer, 2):
                assert await store.aappend_messages("s", batch) == BATCH

        async def main(store: SessionStore) -> None:
            await all_of(partial(write, store, writer) for writer in range(64))
            require_whole_log(await store.aget_messages("s"), 64, 2)

        in_a_loop(open_store, main)

    def test_tasks_on_many_sessions_lose_nothing(self, open_store: OpenStore) -> None:
        """64 tasks that write, read and delete a session of their own each."""

        async def live(store: SessionStore, number: int) -> None:
            session_id = f"s{number}"
            log = conversation(4)
            assert await store.aappend_messages(session_id, log[:2]) == 2
            assert await store.aappend_messages(session_id, log) == 2
            assert await store.aget_messages(session_id) == log
            if number % 2:
                assert await store.adelete(session_id)

        async def main(store: SessionStore) -> None:
            await all_of(partial(live, store, number) for number in range(64))
            page = await store.alist_sessions(limit=100)
            assert {info.id for info in page.sessions} == {f"s{n}" for n in range(0, 64, 2)}

        in_a_loop(open_store, main)

    def test_racing_tasks_have_one_winner(self, open_store: OpenStore) -> None:
        """Of 32 tasks that saw one version, exactly one goes on: guarantee 5."""

        async def race(store: SessionStore, seen: int) -> int:
            try:
                return await store.aappend_messages("s", [said("x")], expected_version=seen)
            except SessionConflictError:
                return 0

        async def main(store: SessionStore) -> None:
            for seen in range(3):
                assert sum(await all_of([partial(race, store, seen)] * 32)) == 1
            assert len(await store.aget_messages("s")) == 3

        in_a_loop(open_store, main)


async def all_of(works: Any) -> list[Any]:
    """Do all works at once, in tasks."""
    return await asyncio.gather(*(work() for work in works))


def in_a_loop(open_store: OpenStore, main: Callable[[SessionStore], Awaitable[None]]) -> None:
    """Run the test with a store that is opened and closed in its loop."""

    async def run() -> None:
        async with open_store() as store:
            await main(store)

    asyncio.run(run())
