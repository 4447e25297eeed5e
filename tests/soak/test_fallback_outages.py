"""The fallback over servers that fail again and again, in every way and any order."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from children import Children
from deaths import AFTERWARDS, DIES
from outages import survived
from servers import outage
from servers import redis as redis_servers
from servers.outage import PostgresPrimary, Primary, RedisPrimary
from servers.postgres import PostgresServer
from servers.proxy import Proxy

FAULTS = [
    outage.killed,
    outage.frozen,
    outage.refused,
    outage.reset,
    outage.stalled,
    outage.too_slow,
    outage.answers_lost,
    outage.read_only,
    outage.flapping,
]
TIMES = 30


@pytest.fixture(params=["redis", "postgres"])
def primary(request: pytest.FixtureRequest) -> Iterator[Primary]:
    with ExitStack() as stack:
        if request.param == "redis":
            durable = redis_servers.single(appendonly="yes", appendfsync="always")
            redis = stack.enter_context(durable)
            yield RedisPrimary(redis, stack.enter_context(Proxy(redis.port)))
        else:
            server = PostgresServer()
            stack.callback(server.stop)
            yield PostgresPrimary(server, stack.enter_context(Proxy(server.port)))


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_nothing_is_lost_though_the_server_fails_again_and_again(
    primary: Primary, kind: str
) -> None:
    faults = random.sample(FAULTS * TIMES, TIMES)
    survived(primary, faults, kind)


def test_a_process_killed_at_any_step_of_a_replay_loses_nothing(
    redis_server: redis_servers.Server, tmp_path: Path
) -> None:
    with Children() as children:
        *states, _ = children.run(DIES, redis_server.url, tmp_path, 1).split("-\n")
    assert len(states) > 20
    assert set(states) == {AFTERWARDS}
