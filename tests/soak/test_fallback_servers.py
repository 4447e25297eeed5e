"""The fallback over real servers that fail in every way, one after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from outages import ids_in, survived
from servers import outage
from servers import redis as redis_servers
from servers.outage import PostgresPrimary, RedisPrimary
from servers.postgres import PostgresServer
from servers.proxy import Proxy

from sessionstore import FallbackSessionStore, SessionMessage


@pytest.fixture
def redis_primary() -> Iterator[RedisPrimary]:
    with (
        redis_servers.single(appendonly="yes", appendfsync="always") as server,
        Proxy(server.port) as proxy,
    ):
        yield RedisPrimary(server, proxy)


@pytest.fixture
def postgres_primary() -> Iterator[PostgresPrimary]:
    server = PostgresServer()
    try:
        with Proxy(server.port) as proxy:
            yield PostgresPrimary(server, proxy)
    finally:
        server.stop()


@pytest.mark.parametrize("mode", ["threads", "tasks"])
def test_nothing_is_lost_though_redis_fails_in_every_way(
    redis_primary: RedisPrimary, mode: str
) -> None:
    faults = [
        outage.killed,
        outage.frozen,
        outage.too_slow,
        outage.answers_lost,
        outage.read_only,
        outage.flapping,
    ]
    survived(redis_primary, faults, mode)


def test_nothing_is_lost_though_postgresql_fails_in_every_way(
    postgres_primary: PostgresPrimary,
) -> None:
    faults = [
        outage.killed,
        outage.stalled,
        outage.reset,
        outage.answers_lost,
        outage.read_only,
        outage.flapping,
    ]
    survived(postgres_primary, faults, "threads")


def test_a_server_that_can_be_read_but_not_written_to_is_one_outage(
    redis_primary: RedisPrimary,
) -> None:
    callbacks: list[str] = []
    with FallbackSessionStore(
        redis_primary.store(),
        retry_after=0,
        on_fallback=lambda _: callbacks.append("down"),
        on_recover=lambda: callbacks.append("up"),
    ) as store:
        with outage.read_only(redis_primary):
            for number in range(20):
                store.append_message("s", SessionMessage("user", "x", id=str(number)))
                assert store.get("another") is None  # which the server answers
                store.list_sessions()
            assert callbacks == ["down"]
            assert len(store.pending()) == 20
        assert store.append_message("s", SessionMessage("user", "x", id="20")) == 1
        assert callbacks == ["down", "up"]
        with redis_primary.around() as around:
            assert ids_in(around, "s") == [str(number) for number in range(21)]
