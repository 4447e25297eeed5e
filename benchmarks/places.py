"""Where sessions are kept: servers and files of the benchmarks' own, gone at the end."""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from redis_stack import redis_stack

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from servers import redis
from servers.postgres import PostgresServer

BACKENDS = ("memory", "sqlite", "redis", "postgresql")
Place = Callable[..., str]
"""Gives a subject's URL or file; with ``fresh=True`` of an empty database."""


@contextmanager
def place(backend: str) -> Iterator[Place]:
    """Give a place on one backend."""
    with {"memory": _memory, "sqlite": _sqlite, "redis": _redis, "postgresql": _postgresql}[
        backend
    ]() as found:
        yield found


@contextmanager
def _memory() -> Iterator[Place]:
    yield lambda *, fresh=False: ""  # noqa: ARG005


@contextmanager
def _sqlite() -> Iterator[Place]:
    """Give each its own file: a write-ahead log is a property of the file."""
    with tempfile.TemporaryDirectory(prefix="sessionstore-bench-") as folder:
        numbers = itertools.count()
        yield lambda *, fresh=False: f"{folder}/{next(numbers)}.db"  # noqa: ARG005


@contextmanager
def _redis() -> Iterator[Place]:
    with redis.single() as server, redis_stack():
        numbers = itertools.count(1)
        yield lambda *, fresh=False: f"{server.url}/{next(numbers)}" if fresh else server.url


@contextmanager
def _postgresql() -> Iterator[Place]:
    """Durable as in production, other than in the tests; with connections for all subjects."""
    server = PostgresServer(fsync="on", full_page_writes="on", max_connections="500")
    numbers = itertools.count(1)

    def url(*, fresh: bool = False) -> str:
        if not fresh:
            return server.url()
        name = f"fresh{next(numbers)}"
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return server.url(name)

    try:
        yield url
    finally:
        server.stop()
