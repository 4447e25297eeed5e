"""A real server behind a proxy, which fails in every way that servers and networks have."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import psycopg

from servers.postgres import PostgresServer
from servers.process import wait_until
from servers.proxy import Proxy
from servers.redis import Server as RedisServer
from sessionstore import DbSessionStore, PostgresAgentDb, RedisSessionStore, SessionStore

TIMEOUT = 0.3
_NOBODY = 1  # a port that leads nowhere


class Primary(Protocol):
    """A server, and a way to it that can be cut."""

    proxy: Proxy

    def store(self, timeout: float = TIMEOUT) -> SessionStore:
        """Make a store that reaches the server through the proxy."""

    def around(self) -> SessionStore:
        """Make one that reaches the server whatever the proxy does."""

    def kill(self) -> None: ...
    def start(self) -> None: ...
    def freeze(self) -> None: ...
    def thaw(self) -> None: ...
    def refuse_writes(self) -> None: ...
    def take_writes(self) -> None: ...


class RedisPrimary:
    def __init__(self, server: RedisServer, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy

    def store(self, timeout: float = TIMEOUT) -> RedisSessionStore:
        return RedisSessionStore(f"redis://127.0.0.1:{self.proxy.port}", timeout=timeout)

    def around(self) -> RedisSessionStore:
        return RedisSessionStore(self.server.url)

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.pause()

    def thaw(self) -> None:
        self.server.resume()

    def refuse_writes(self) -> None:
        """Make a replica of it, whose master is nowhere."""
        self.server.run("REPLICAOF", "127.0.0.1", _NOBODY)

    def take_writes(self) -> None:
        self.server.run("REPLICAOF", "NO", "ONE")


class PostgresPrimary:
    def __init__(self, server: PostgresServer, proxy: Proxy) -> None:
        self.server, self.proxy = server, proxy

    def store(self, timeout: float = TIMEOUT) -> DbSessionStore:
        url = self.server.url(port=self.proxy.port)
        db = PostgresAgentDb(url, connect_timeout=max(2, timeout), statement_timeout=timeout)
        store = DbSessionStore(db)
        store._owns_db = True
        return store

    def around(self) -> DbSessionStore:
        return DbSessionStore(self.server.url())

    def kill(self) -> None:
        self.server.kill()

    def start(self) -> None:
        self.server.start()

    def freeze(self) -> None:
        self.server.freeze()

    def thaw(self) -> None:
        self.server.thaw()

    def refuse_writes(self) -> None:
        self._read_only("on")

    def take_writes(self) -> None:
        self._read_only("off")

    def _read_only(self, state: str) -> None:
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {state}")  # type: ignore[arg-type]
            connection.execute("SELECT pg_reload_conf()")

            def is_known() -> bool:
                row = connection.execute("SHOW default_transaction_read_only").fetchone()
                return row == (state,)

            wait_until(is_known, f"default_transaction_read_only = {state}")


# -- The faults, each until its block ends -------------------------------------------------------


@contextmanager
def killed(primary: Primary) -> Iterator[None]:
    primary.kill()
    try:
        yield
    finally:
        primary.start()


@contextmanager
def frozen(primary: Primary) -> Iterator[None]:
    primary.freeze()
    try:
        yield
    finally:
        primary.thaw()


@contextmanager
def read_only(primary: Primary) -> Iterator[None]:
    primary.refuse_writes()
    try:
        yield
    finally:
        primary.take_writes()


@contextmanager
def _cut(primary: Primary, cut: Callable[[Proxy], object]) -> Iterator[None]:
    cut(primary.proxy)
    try:
        yield
    finally:
        primary.proxy.carry()


@contextmanager
def refused(primary: Primary) -> Iterator[None]:
    with _cut(primary, Proxy.refuse):
        yield


@contextmanager
def reset(primary: Primary) -> Iterator[None]:
    with _cut(primary, Proxy.reset):
        yield


@contextmanager
def stalled(primary: Primary) -> Iterator[None]:
    with _cut(primary, Proxy.stall):
        yield


@contextmanager
def too_slow(primary: Primary) -> Iterator[None]:
    """Do what is asked, and answer when nobody waits for it any more."""
    with _cut(primary, lambda proxy: proxy.delay(2 * TIMEOUT)):
        yield


@contextmanager
def answers_lost(primary: Primary) -> Iterator[None]:
    """Do what is asked, and lose each answer."""
    with _cut(primary, lambda proxy: proxy.drop_replies(1_000_000)):
        yield


@contextmanager
def flapping(primary: Primary) -> Iterator[None]:
    """Be gone for 100 ms, be there for 100 ms, and so on."""
    over = threading.Event()

    def flap() -> None:
        while not over.is_set():
            primary.proxy.refuse()
            over.wait(0.1)
            primary.proxy.carry()
            over.wait(0.1)

    thread = threading.Thread(target=flap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
