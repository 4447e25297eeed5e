from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import count

import pytest
from servers.postgres import PostgresServer
from servers.process import wait_until

from sessionstore import (
    DbSessionStore,
    PostgresAgentDb,
    SessionMessage,
    StoreUnavailableError,
)
from sessionstore.operations import Append, GetMessages

AppendPair = Callable[[DbSessionStore, str, list[SessionMessage]], None]

KILLS = 20
WRITERS = 8


def _append(store: DbSessionStore, session_id: str, batch: list[SessionMessage]) -> None:
    store.append_messages(session_id, batch)


def _turn(store: DbSessionStore, session_id: str, batch: list[SessionMessage]) -> None:
    """Append in one step with a read: what is there then ends with a pair, if not with this one."""
    last, added = store.run([GetMessages(session_id, limit=2), Append(session_id, batch)])
    assert [str(message.id)[-1] for message in last] in ([], ["a", "b"])
    if added:
        after = str(last[-1].id) if last else ""
        found = store.get_messages(session_id, after=after, limit=2)
        assert [message.id for message in found] == [message.id for message in batch]


class Writers:
    """Threads that append without pause, and keep what was acknowledged."""

    def __init__(self, store: DbSessionStore, append: AppendPair) -> None:
        self._store = store
        self._append = append
        self._stop = threading.Event()
        self.acknowledged: defaultdict[str, list[str]] = defaultdict(list)
        self.refused = 0
        self.faults: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(WRITERS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wrote(self, count: int) -> bool:
        return self.total() > count

    def total(self) -> int:
        return sum(map(len, self.acknowledged.values()))

    def _run(self, writer: int) -> None:
        try:
            for number in count():
                if self._stop.is_set():
                    return
                self._write(writer, number)
        except BaseException as error:  # noqa: BLE001 - the test reports it
            self.faults.append(error)

    def _write(self, writer: int, number: int) -> None:
        """Append a pair to a session that two writers share, until it is acknowledged."""
        session_id, ids = f"s{writer // 2}", [f"{writer}.{number}.{part}" for part in "ab"]
        batch = [SessionMessage("user", "hello", id=message_id) for message_id in ids]
        while True:
            try:
                self._append(self._store, session_id, batch)
            except StoreUnavailableError:
                self.refused += 1
                if self._stop.is_set():
                    return
            else:
                self.acknowledged[session_id] += ids
                return


@pytest.mark.parametrize("append", [_append, _turn])
def test_a_server_that_is_killed_again_and_again(append: AppendPair) -> None:
    server = PostgresServer()
    with PostgresAgentDb(server.url()) as db:
        writers = Writers(store := DbSessionStore(db), append)
        writers.start()
        for _ in range(KILLS):
            before = writers.total()
            wait_until(partial(writers.wrote, before + 100), "nothing is written")
            server.kill()
            server.start()
        writers.stop()
        assert writers.faults == []
        assert writers.refused > 0
        for session_id, acknowledged in writers.acknowledged.items():
            session = store.get(session_id)
            assert session is not None
            stored = [str(message.id) for message in session.messages]
            assert len(set(stored)) == len(stored), "something is there twice"
            assert set(acknowledged) <= set(stored), "something acknowledged is lost"
            assert all(  # a batch is whole, and nobody came between
                first[:-1] == second[:-1]
                for first, second in zip(stored[::2], stored[1::2], strict=True)
            )
            for writer in {message_id.partition(".")[0] for message_id in stored}:
                own = [int(i.split(".")[1]) for i in stored[::2] if i.startswith(f"{writer}.")]
                assert own == sorted(own), "the order is another"
            [info] = [i for i in store.list_sessions().sessions if i.id == session_id]
            assert info.message_count == len(stored)
            assert info.version == len(stored) // 2
    server.stop()
