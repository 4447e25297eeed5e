"""What somebody else wrote where the store keeps its own: it harms that session only."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis
from servers import redis as redis_servers

from sessionstore import (
    CorruptMessageError,
    InvalidMessageError,
    RedisSessionStore,
    SessionExistsError,
    StoreBounds,
)
from sessionstore.operations import Reseal
from sessionstore.testing.samples import conversation, ids, said

NOT_NUMBERS = [
    b"",
    b"x",
    b"-1",
    b"1.5",
    b"nan",
    b"inf",
    b"9" * 30,
    b"9007199254740993",
    b"\xff",
    b"1e5",
]


@pytest.fixture
def prefix() -> str:
    return f"{uuid.uuid4()}:"


@pytest.fixture
def client(redis_server: redis_servers.Server) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture
def store(redis_server: redis_servers.Server, prefix: str) -> Iterator[RedisSessionStore]:
    with RedisSessionStore(redis_server.url, key_prefix=prefix, ttl_seconds=1000) as store:
        for name in ("damaged", "sound"):
            store.create(name, messages=conversation(4), metadata={"title": "t"})
            store.delete_messages(name, ["m1"])
        yield store


def require_only_it_is_harmed(store: RedisSessionStore) -> None:
    for use in (
        lambda: store.get("damaged"),
        lambda: store.get_messages("damaged", limit=2),
        lambda: store.get_messages("damaged", before="m2"),
        lambda: store.append_message("damaged", said("x")),
        lambda: store.replace_message("damaged", said("x", "m2")),
        lambda: store.delete_messages("damaged", ["m2"]),
        lambda: store.rewind("damaged", to="m0"),
        lambda: store.update("damaged", metadata={"a": 1}),
        lambda: store.run(Reseal("damaged", *[conversation(3)] * 2)),
    ):
        with suppress(CorruptMessageError, SessionExistsError):
            use()
    assert store.append_message("sound", said("x")) == 1
    assert ids(store.get_messages("sound", limit=2))[0] == "m3"
    assert "sound" in [info.id for info in store.list_sessions().sessions]
    assert "sound" in [info.id for info in store.list_sessions(agent_id="default").sessions]
    assert "sound" in [info.id for info in store.list_sessions(last=3).sessions]
    assert store.prune_expired() == 0


@pytest.mark.parametrize("value", NOT_NUMBERS)
@pytest.mark.parametrize(
    "field", ["agent", "user", "created", "updated", "version", "count", "first", "gaps", ":title"]
)
def test_a_damaged_field_of_a_head_harms_only_its_session(
    store: RedisSessionStore, client: redis.Redis, prefix: str, field: str, value: bytes
) -> None:
    client.hset(f"{prefix}{{damaged}}:session", field, value)
    require_only_it_is_harmed(store)


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_damaged_positions_and_records_harm_only_their_session(
    store: RedisSessionStore, client: redis.Redis, prefix: str, value: bytes
) -> None:
    tag = f"{prefix}{{damaged}}:"
    client.hset(tag + "positions", "m2", value)
    client.append(tag + "writes", value)
    client.lpush(tag + "deleted", value)
    client.zadd(f"{prefix}{{:all}}", {value: 1})
    require_only_it_is_harmed(store)


@pytest.mark.parametrize("score", [2.0**53, 2.0**60, 1e300, float("inf"), -5, 1.5])
def test_an_invalid_score_in_an_index_harms_only_its_session(
    store: RedisSessionStore, client: redis.Redis, prefix: str, score: float
) -> None:
    for index in ("{:all}", "{:agent:default}"):
        client.zadd(prefix + index, {"damaged/default/": score})
    require_only_it_is_harmed(store)


def test_a_session_left_out_of_lists_is_logged_once(
    store: RedisSessionStore,
    client: redis.Redis,
    prefix: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client.hset(f"{prefix}{{damaged}}:session", ":title", '"a secret')
    with caplog.at_level(logging.WARNING, "sessionstore"):
        for _ in range(3):
            assert [info.id for info in store.list_sessions().sessions] == ["sound"]
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 1
    assert "'damaged'" in logged[0]
    assert "secret" not in logged[0]


@pytest.mark.parametrize("how", ["text", "another type", "gone", "one too few"])
@pytest.mark.parametrize("where", ["redis_server", "redis_cluster"])
def test_a_session_whose_last_messages_can_not_be_read_is_left_out_of_previews(
    prefix: str,
    where: str,
    how: str,
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = request.getfixturevalue(where)
    with RedisSessionStore(server.url, key_prefix=prefix) as store, server.client() as client:
        for name in ("first", "damaged", "last"):
            store.create(name, messages=conversation(4))
        key = f"{prefix}{{damaged}}:messages"
        if how == "text":
            client.lset(key, -1, "s3cret")
        elif how == "one too few":
            client.rpop(key)
        else:
            client.delete(key)
        if how == "another type":
            client.set(key, "s3cret")
        with caplog.at_level(logging.WARNING, "sessionstore"):
            for _ in range(2):
                for limit in (1, 2, 3):
                    page = store.list_sessions(limit=limit, last=4)
                    assert [info.id for info in page.sessions] == ["last", "first"][:limit]
                    assert (page.cursor is None) == (limit > 1)
        assert len(caplog.records) == 1
        assert "s3cret" not in caplog.text
        listed = [info.id for info in store.list_sessions().sessions]
        assert listed == ["last", "damaged", "first"]


@pytest.mark.soak
def test_a_write_with_too_many_messages_is_refused_before_it_is_sent(
    store: RedisSessionStore,
) -> None:
    assert isinstance(store.bounds, StoreBounds)
    many = [said("x", str(number)) for number in range(500_001)]
    for write in (
        lambda: store.append_messages("sound", many),
        lambda: store.update("sound", messages=many),
        lambda: store.create("new", messages=many),
    ):
        with pytest.raises(InvalidMessageError, match="500"):
            write()
    assert ids(store.get_messages("sound")) == ["m0", "m2", "m3"]


def test_lists_are_newest_first_after_the_servers_clock_was_set_back(
    store: RedisSessionStore, client: redis.Redis, prefix: str
) -> None:
    """What was last written is listed first, whatever the server's clock said before."""
    later: Any = 4_000_000_000_000_000
    client.hset(f"{prefix}{{damaged}}:session", "updated", later)
    client.zadd(f"{prefix}{{:all}}", {"damaged/default/": later})
    store.append_message("sound", said("x"))
    listed = store.list_sessions().sessions
    assert [info.id for info in listed] == ["sound", "damaged"]
    before = listed[1].updated_at
    store.append_message("damaged", said("x"))
    listed = store.list_sessions().sessions
    assert [info.id for info in listed] == ["damaged", "sound"]
    assert listed[0].updated_at > listed[1].updated_at > before
