"""A process is killed in the middle of batches, again and again: all or nothing of each append."""

from __future__ import annotations

import random
from functools import partial

import psycopg
from children import Children
from servers.postgres import PostgresServer
from servers.process import wait_until
from warm import Warm

from sessionstore import DbSessionStore, PostgresAgentDb

KILLS, TASKS = 50, 64

_WRITER = """
    import asyncio, os, sys
    from sessionstore import DbSessionStore, PostgresAgentDb, SessionMessage

    url, life, tasks = sys.argv[1], sys.argv[2], int(sys.argv[3])

    async def write(store, task):
        for number in range(1_000_000):
            ids = [f"{life}.{number}.{part}" for part in "ab"]
            messages = [SessionMessage("user", "hello", id=one) for one in ids]
            await store.aappend_messages(f"s{task}", messages)
            os.write(1, f"s{task} {number}\\n".encode())

    async def main():
        async with PostgresAgentDb(url) as db:
            store = DbSessionStore(db)
            await asyncio.gather(*(write(store, task) for task in range(tasks)))

    asyncio.run(main())
"""


def acknowledged(output: str) -> dict[str, int]:
    """Give the last number that each session's writer was told of; a last line may be cut off."""
    last: dict[str, int] = {}
    for line in output.split("\n")[:-1]:
        name, number = line.split(" ")
        assert int(number) == last.get(name, -1) + 1
        last[name] = int(number)
    return last


def is_left_alone(server: PostgresServer) -> bool:
    """Tell whether nobody but the test has a connection: a server ends what it was sent."""
    with psycopg.connect(server.url()) as admin:
        found = admin.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchone()
    return found is not None and found[0] <= 1


def test_a_client_that_is_killed_again_and_again(warm: Warm) -> None:
    chance = random.Random(17)  # noqa: S311
    server = PostgresServer()
    kept: dict[str, list[str]] = {f"s{task}": [] for task in range(TASKS)}
    with PostgresAgentDb(server.url()) as db, Children(warm) as children:
        store = DbSessionStore(db)
        for life in range(KILLS):
            child = children.start(_WRITER, server.url(), life, TASKS)
            assert child.stdout is not None
            lines = [child.stdout.readline() for _ in range(chance.randint(1, 4 * TASKS))]
            child.kill()
            last = acknowledged("".join(lines) + child.stdout.read())
            child.wait()
            wait_until(partial(is_left_alone, server), "what it had sent is not done")
            for name, before in kept.items():
                ids = [message.id for message in store.get_messages(name)]
                new = ids[len(before) :]
                numbers = range(len(new) // 2)
                assert ids[: len(before)] == before
                assert new == [f"{life}.{number}.{part}" for number in numbers for part in "ab"]
                assert last.get(name, -1) <= numbers.stop - 1 <= last.get(name, -1) + 1
                kept[name] = [str(one) for one in ids]
    server.stop()
