"""Servers killed under load: what was acknowledged is there, once, in order."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from operator import gt

import pytest
from servers import redis as redis_servers
from servers.process import wait_until

from sessionstore import RedisSessionStore, SessionMessage, StoreUnavailableError
from sessionstore.store import SessionStore


class Writers:
    """Threads that append in a loop to sessions that they share, and note what was acknowledged."""

    size = 8

    def __init__(self, store: SessionStore) -> None:
        self.store = store
        self.acknowledged: list[list[str]] = [[] for _ in range(self.size)]
        self.refused = 0
        self._stopped = threading.Event()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = self._threads()
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()

    def _threads(self) -> list[threading.Thread]:
        return [threading.Thread(target=self._work, args=(n,)) for n in range(self.size)]

    def _work(self, writer: int) -> None:
        while not self._stopped.is_set():
            messages = self._next(writer)
            try:
                self.store.append_messages(session_of(writer), messages)
            except StoreUnavailableError:
                self.refused += 1  # and the same pair is sent again
                time.sleep(0.02)
            else:
                self._note(writer, messages)

    def _next(self, writer: int) -> list[SessionMessage]:
        number = len(self.acknowledged[writer]) // 2
        pair = [f"{writer}.{number}.{part}" for part in "ab"]
        return [SessionMessage("user", one, id=one) for one in pair]

    def _note(self, writer: int, messages: list[SessionMessage]) -> None:
        self.acknowledged[writer] += [str(message.id) for message in messages]

    def count(self) -> int:
        return sum(map(len, self.acknowledged))

    def wait_for_more(self, more: int) -> None:
        goal = self.count() + more
        wait_until(lambda: self.count() >= goal, "writers go on", 60)

    def require_all(self, *, lost: int = 0) -> None:
        """Nothing twice, pairs whole and in order; of the acknowledged, so many lost at most."""
        missing = 0
        for session_id in {session_of(writer) for writer in range(self.size)}:
            stored = [str(message.id) for message in self.store.get_messages(session_id)]
            assert len(stored) == len(set(stored))
            assert all(b == a[:-1] + "b" for a, b in zip(stored[::2], stored[1::2], strict=True))
            for writer in range(self.size):
                if session_of(writer) != session_id:
                    continue
                mine = [one for one in stored if one.startswith(f"{writer}.")]
                numbers = [int(one.split(".")[1]) for one in mine]
                assert numbers == sorted(numbers)
                missing += len(set(self.acknowledged[writer]) - set(mine))
        assert missing <= lost, f"{missing} acknowledged messages are lost"
        listed = [info.id for info in self.store.list_sessions().sessions]
        assert sorted(listed) == sorted({session_of(writer) for writer in range(self.size)})


class Tasks(Writers):
    """The same as tasks of one event loop, more than the store sends at once."""

    size = 64

    def _threads(self) -> list[threading.Thread]:
        return [threading.Thread(target=lambda: asyncio.run(self._run()))]

    async def _run(self) -> None:
        await asyncio.gather(*(self._awork(n) for n in range(self.size)))

    async def _awork(self, writer: int) -> None:
        while not self._stopped.is_set():
            messages = self._next(writer)
            try:
                await self.store.aappend_messages(session_of(writer), messages)
            except StoreUnavailableError:
                self.refused += 1  # and the same pair is sent again
                await asyncio.sleep(0.02)
            else:
                self._note(writer, messages)


def session_of(writer: int) -> str:
    return f"s{writer % 3}"


def killed_and_restarted(
    name: str | None, kind: type[Writers] = Writers, *, times: int = 20
) -> None:
    with (
        redis_servers.single(name, appendonly="yes", appendfsync="always") as server,
        RedisSessionStore(server.url) as store,
    ):
        writers = kind(store)
        with writers.at_work():
            for _ in range(times):
                writers.wait_for_more(50)
                server.kill()
                server.start()
            writers.wait_for_more(50)
        writers.require_all()
        assert writers.refused


@pytest.mark.parametrize("name", redis_servers.binaries())
def test_a_server_killed_halfway_through_a_change_keeps_all_of_it_or_nothing(name: str) -> None:
    with (
        redis_servers.single(name, appendonly="yes", appendfsync="always") as server,
        RedisSessionStore(server.url) as store,
    ):
        for number in range(2):
            store.append_messages(
                "s", [SessionMessage("user", "x", id=f"{number}{n}") for n in "ab"]
            )
        for number in range(2, 4):
            server.kill()
            log = max(server.home.rglob("appendonly.aof*"), key=lambda file: file.stat().st_size)
            if number == 2:
                os.truncate(log, log.stat().st_size - 20)
            server.start()
            store.append_messages(
                "s", [SessionMessage("user", "x", id=f"{number}{n}") for n in "ab"]
            )
        stored = [message.id for message in store.get_messages("s")]
        assert stored == ["0a", "0b", "2a", "2b", "3a", "3b"]


def test_a_server_killed_twenty_times_loses_no_acknowledged_write() -> None:
    killed_and_restarted(None)


def test_the_oldest_server_killed_twenty_times_loses_no_acknowledged_write() -> None:
    killed_and_restarted(list(redis_servers.binaries())[-1])


def test_a_server_killed_fifty_times_loses_no_write_of_a_task() -> None:
    killed_and_restarted(None, Tasks, times=50)


def test_the_oldest_server_killed_twenty_times_loses_no_write_of_a_task() -> None:
    killed_and_restarted(list(redis_servers.binaries())[-1], Tasks)


def test_a_sentinel_fail_over_loses_no_acknowledged_write() -> None:
    """With a replica that has every write before it is acknowledged, none is lost."""
    with (
        redis_servers.guarded(takes_over=True) as guarded,
        RedisSessionStore(guarded.url, wait_replicas=1) as store,
    ):
        writers = Writers(store)
        with writers.at_work():
            writers.wait_for_more(500)
            guarded.master.kill()
            # The new master has no replica: each write is there, but not acknowledged.
            wait_until(lambda: is_master(guarded.replica), "replica is promoted")
            guarded.master.start()
            writers.wait_for_more(200)
        writers.require_all()


@pytest.mark.parametrize("kind", [Writers, Tasks])
def test_a_requested_sentinel_fail_over_loses_no_acknowledged_write(kind: type[Writers]) -> None:
    with redis_servers.guarded() as guarded, RedisSessionStore(guarded.url) as store:
        writers = kind(store)
        with writers.at_work():
            writers.wait_for_more(500)
            guarded.sentinels[0].run("SENTINEL", "FAILOVER", redis_servers.SERVICE)
            wait_until(lambda: is_master(guarded.replica), "replica is promoted")
            writers.wait_for_more(500)
        # Redis's own fail-over waits for no replica: what was on its way to it is lost.
        writers.require_all(lost=200)


def test_a_cluster_fail_over_loses_no_acknowledged_write() -> None:
    with (
        redis_servers.cluster(replicas=1) as cluster,
        RedisSessionStore(cluster.url, wait_replicas=1) as store,
    ):
        writers = Writers(store)
        with writers.at_work():
            writers.wait_for_more(300)
            for master, replica in zip(cluster.masters[:2], cluster.servers[3:5], strict=True):
                master.kill()
                wait_until(lambda: is_master(replica), "replica is promoted")  # noqa: B023
                master.start()
                wait_until(lambda: is_synced(master), "the old master follows")  # noqa: B023
                writers.wait_for_more(200)
        writers.require_all()


def test_tasks_go_on_when_a_node_of_a_cluster_is_replaced() -> None:
    with redis_servers.cluster(replicas=1) as cluster, RedisSessionStore(cluster.url) as store:
        writers = Tasks(store)
        with writers.at_work():
            for master, replica in zip(cluster.masters, cluster.servers[3:], strict=True):
                writers.wait_for_more(300)
                master.kill()
                wait_until(lambda: is_master(replica), "replica is promoted")  # noqa: B023
                before = list(map(len, writers.acknowledged))
                wait_until(
                    lambda: all(map(gt, map(len, writers.acknowledged), before)),  # noqa: B023
                    "all go on",
                )
                master.start()
                wait_until(lambda: is_synced(master), "the old master follows")  # noqa: B023


@pytest.mark.parametrize("kind", [Writers, Tasks])
def test_a_requested_cluster_fail_over_loses_no_acknowledged_write(kind: type[Writers]) -> None:
    """Asked for, a Cluster's fail-over waits for the replica: nothing is lost without WAIT."""
    with redis_servers.cluster(replicas=1) as cluster, RedisSessionStore(cluster.url) as store:
        writers = kind(store)
        with writers.at_work():
            writers.wait_for_more(300)
            for replica in cluster.servers[3:]:
                replica.run("CLUSTER", "FAILOVER")
                wait_until(lambda: is_master(replica), "replica is promoted")  # noqa: B023
                writers.wait_for_more(300)
        writers.require_all()


def is_master(server: redis_servers.Server) -> bool:
    try:
        return bool(server.info("replication")["role"] == "master")
    except redis_servers.redis.ConnectionError:  # a Sentinel ends the connections of what it moves
        return False


def is_synced(server: redis_servers.Server) -> bool:
    return server.info("replication").get("master_link_status") == "up"
