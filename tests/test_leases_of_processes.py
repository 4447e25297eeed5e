"""Leases of several processes: one that is stopped past its time, and twenty that begin at once."""

from __future__ import annotations

import os
import signal
import uuid
from pathlib import Path

import psycopg
import pytest
from children import Children, finished
from servers.postgres import PostgresServer
from servers.redis import Server
from sqlite_files import outside
from warm import Warm

from sessionstore import open_store

HOLDER = """
    import asyncio, sys
    from sessionstore import SessionLeasedError, open_store

    url, mode = sys.argv[1:]
    message = {"role": "user", "content": "late", "id": "late"}
    with open_store(url, fallback=None) as store:
        lease = store.lease("s", seconds=1).__enter__()
        store.append_message("s", {**message, "id": "in time"}, lease=lease)
        print("ready")
        input()
        try:
            if mode == "sync":
                store.append_message("s", message, lease=lease)
            else:
                asyncio.run(store.aappend_message("s", message, lease=lease))
        except SessionLeasedError:
            print("refused")
"""
BEGINNER = """
    import sys
    from sessionstore import open_store

    url, number = sys.argv[1:]
    with open_store(url, fallback=None, timeout=60) as store:
        print("ready")
        input()
        with store.lease(number) as lease:
            print(store.append_message(number, {"role": "user", "content": "x"}, lease=lease))
"""


@pytest.fixture(params=["sqlite", "postgres", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sessions.db"
    if request.param == "redis":
        redis: Server = request.getfixturevalue("redis_server")
        redis.run("FLUSHALL")
        return redis.url
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"d{uuid.uuid4().hex}"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(name)


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_a_late_write_of_a_stopped_holder_is_refused(url: str, warm: Warm, mode: str) -> None:
    with Children(warm) as children, open_store(url, fallback=None) as store:
        holder = children.start(HOLDER, url, mode)
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "ready\n"
        os.kill(holder.pid, signal.SIGSTOP)
        try:
            with store.lease("s", wait=60) as lease:  # when its time is over
                store.append_message("s", {"role": "user", "content": "x"}, lease=lease)
        finally:
            os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.write("go\n")
        holder.stdin.flush()
        assert finished(holder) == "refused\n"
        assert [message.content for message in store.get_messages("s")] == ["late", "x"]
        assert store.get_messages("s")[0].id == "in time"


@pytest.mark.soak
@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_twenty_processes_lease_at_once_in_a_database_of_an_older_release(
    url: str, warm: Warm
) -> None:
    with open_store(url, fallback=None) as store:
        store.setup()
    drop = "DROP TABLE sessionstore_leases"
    if url.startswith("sqlite"):
        with outside(Path(url.removeprefix("sqlite:///"))) as file:
            file.execute(drop)
    else:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(drop)
    with Children(warm) as children:
        assert children.start_together(20, BEGINNER, url) == ["1\n"] * 20
