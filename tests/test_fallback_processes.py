"""Several processes on one primary, each with its own outage; and processes that die in one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from children import Child, Children, ended, finished
from deaths import AFTERWARDS, DIES
from outages import ids_in
from servers import redis as redis_servers
from warm import Warm

from sessionstore import FallbackSessionStore, RedisSessionStore, SessionMessage

PROCESSES = "abc"

# Writes so many messages at each line that it reads, until it is told to end.
WRITER = """
    import sys, time
    from sessionstore import FallbackSessionStore, RedisSessionStore, SessionMessage

    url, fallback, name = sys.argv[1:]
    store = FallbackSessionStore(
        RedisSessionStore(url, timeout=5), fallback=fallback, retry_after=0, retry_cap=0.1
    )
    number = 0
    for line in sys.stdin:
        if line == "end\\n":
            while not store.recover():
                time.sleep(0.01)
            assert store.rejected() == []
            store.close()
            sys.exit()
        for _ in range(int(line)):
            for session_id in (name, "shared"):
                message = SessionMessage("user", "x", id=f"{name} {number}")
                assert store.append_message(session_id, message) == 1
            read = [message.id for message in store.get_messages(name)]
            assert read == [f"{name} {earlier}" for earlier in range(number + 1)]
            print(number)
            number += 1
        print("degraded" if store.is_degraded() else "healthy")
"""


@pytest.fixture
def redis() -> Iterator[redis_servers.Server]:
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture(params=["in-memory", "sqlite:///outage.db"])
def fallback(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.chdir(tmp_path)
    return str(request.param)


def tell(child: Child, line: object) -> None:
    assert child.stdin
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


def told(child: Child, count: int) -> list[str]:
    assert child.stdout
    return [child.stdout.readline().strip() for _ in range(count)]


def wrote(child: Child, count: int) -> str:
    """Wait until a writer has written so many, and give how it then sees its primary."""
    return told(child, count + 1)[-1]


def names(writer: str, numbers: int) -> list[str]:
    return [f"{writer} {number}" for number in range(numbers)]


@pytest.mark.soak
def test_each_process_goes_on_by_itself(
    warm: Warm, redis: redis_servers.Server, fallback: str
) -> None:
    with Children(warm) as children, RedisSessionStore(redis.url) as itself:
        writers = [children.start(WRITER, redis.url, fallback, name) for name in PROCESSES]

        def all_write(count: int) -> set[str]:
            for writer in writers:
                tell(writer, count)
            return {wrote(writer, count) for writer in writers}

        assert all_write(10) == {"healthy"}
        for _ in range(2):
            redis.kill()
            assert all_write(20) == {"degraded"}
            redis.start()
            all_write(10)
        for writer in writers:
            tell(writer, "end")
            finished(writer)
        together = ids_in(itself, "shared")
        for name in PROCESSES:
            assert ids_in(itself, name) == names(name, 70)
            assert [one for one in together if one.startswith(name)] == names(name, 70)
        assert len(together) == 70 * len(PROCESSES)


def test_a_process_takes_over_from_the_dead_and_leaves_the_living_alone(
    warm: Warm, redis: redis_servers.Server, tmp_path: Path
) -> None:
    fallback = f"sqlite:///{tmp_path / 'outage.db'}"
    with Children(warm) as children, RedisSessionStore(redis.url) as itself:
        dead, living = (children.start(WRITER, redis.url, fallback, name) for name in "dl")
        for writer in (dead, living):
            tell(writer, 3)
            wrote(writer, 3)
        redis.kill()
        for writer in (dead, living):
            tell(writer, 3)
            assert wrote(writer, 3) == "degraded"
        dead.kill()
        ended(dead)
        with FallbackSessionStore(itself, fallback=fallback, retry_after=0) as store:
            # It was never in use while Redis was there: it knows what the dead one knew.
            assert ids_in(store, "d") == names("d", 6)
            assert ids_in(store, "l") == []
            assert {write.session_id for write in store.pending()} == {"d", "shared"}
            redis.start()
            assert store.recover()
            assert ids_in(itself, "d") == names("d", 6)
            assert ids_in(itself, "l") == names("l", 3)
            tell(living, "end")
            finished(living)
            assert ids_in(store, "l") == names("l", 6)
            together = ids_in(store, "shared")
        assert sorted(together) == names("d", 6) + names("l", 6)
        for name in "dl":
            assert [one for one in together if one.startswith(name)] == names(name, 6)


def test_a_process_that_is_killed_again_and_again(
    warm: Warm, redis: redis_servers.Server, tmp_path: Path
) -> None:
    """In an outage, at any moment: what it acknowledged is replayed by whoever comes next."""
    fallback = f"sqlite:///{tmp_path / 'outage.db'}"
    redis.kill()
    with Children(warm) as children:
        lives = []
        for life in range(6):
            child = children.start(WRITER, redis.url, fallback, f"life{life}")
            tell(child, 1000)
            first = told(child, 1 + 5 * life)
            child.kill()
            lives.append([*first, *ended(child).split()])
    redis.start()
    with (
        RedisSessionStore(redis.url) as itself,
        FallbackSessionStore(RedisSessionStore(redis.url), fallback=fallback) as store,
    ):
        assert store.recover()
        together = ids_in(itself, "shared")
        for life, acknowledged in enumerate(lives):
            name, count = f"life{life}", len(acknowledged)
            assert acknowledged == [str(number) for number in range(count)]
            kept = ids_in(itself, name)
            mine = [one for one in together if one.startswith(f"{name} ")]
            # What was under way when it was killed may be there, or not.
            assert kept in (names(name, count), names(name, count + 1))
            assert mine in (names(name, count), names(name, count + 1))
    with FallbackSessionStore(RedisSessionStore(redis.url), fallback=fallback) as store:
        assert store.pending() == store.rejected() == []


@pytest.mark.soak
def test_a_process_that_is_killed_in_the_middle_of_a_replay(
    warm: Warm, redis_server: redis_servers.Server, tmp_path: Path
) -> None:
    """At every seventh step; the soak has all."""
    with Children(warm) as children:
        *states, _ = children.run(DIES, redis_server.url, tmp_path, 7).split("-\n")
    assert len(states) > 2
    assert set(states) == {AFTERWARDS}


def test_closing_with_writes_in_memory_offers_them(
    redis: redis_servers.Server, caplog: pytest.LogCaptureFixture
) -> None:
    with FallbackSessionStore(RedisSessionStore(redis.url), retry_after=0) as store:
        store.append_message("s", SessionMessage("user", "a secret", id="1"))
        redis.kill()
        store.append_message("s", SessionMessage("user", "a secret", id="2"))
        store.append_message("t", SessionMessage("user", "a secret", id="3"))
    errors = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "2 writes" in errors[0]
    assert "secret" not in caplog.text
    left = store.pending()
    assert [(write.session_id, [m.id for m in write.operation.messages]) for write in left] == [
        ("s", ["2"]),
        ("t", ["3"]),
    ]
    redis.start()
    with RedisSessionStore(redis.url) as itself:
        for write in left:  # what is offered is enough to replay it by hand
            itself.run(write.operation)
        assert ids_in(itself, "s") == ["1", "2"]
