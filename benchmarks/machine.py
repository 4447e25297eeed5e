"""What the figures were measured on: no names, no paths."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
import tempfile
import time
from importlib import metadata
from pathlib import Path

import places
import psycopg
import redis

_HERE = Path(__file__).parent
_PACKAGES = (
    "aiosqlite",
    "asyncpg",
    "hiredis",
    "langchain-community",
    "langchain-core",
    "langchain-postgres",
    "langchain-redis",
    "langgraph",
    "langgraph-checkpoint-postgres",
    "langgraph-checkpoint-sqlite",
    "llama-index-core",
    "llama-index-storage-chat-store-postgres",
    "llama-index-storage-chat-store-redis",
    "msgspec",
    "openai-agents",
    "psycopg",
    "redis",
    "sqlalchemy",
)


def machine() -> dict[str, str]:
    """Tell of the machine, by what each is called."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "write and fsync of 4 KiB": f"{_fsync() * 1e3:.2f} ms, the median of 200",
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _fsync() -> float:
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(200):
            start = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def commit() -> str:
    """Tell which commit is measured, and whether files differ from it."""
    told = [
        subprocess.run(["git", *words], cwd=_HERE, capture_output=True, text=True, check=False)  # noqa: S607 - the git of the one who measures
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain"))
    ]
    if any(one.returncode for one in told):
        return "unknown: git tells nothing here"
    name, files = (one.stdout.strip() for one in told)
    return f"{name}, changed" if files else name


def versions() -> dict[str, str]:
    """Tell the versions of the interpreter, the servers and the packages."""
    found = {"Python": platform.python_version(), "SQLite": sqlite3.sqlite_version}
    return {**found, **_servers(), **{name: _version(name) for name in _PACKAGES}}


def _servers() -> dict[str, str]:
    with places.place("redis") as place, redis.Redis.from_url(place()) as client:
        told = client.info("server")
    name = "Valkey" if "valkey_version" in told else "Redis"
    server = str(told.get("valkey_version", told["redis_version"]))
    with places.place("postgresql") as place, psycopg.connect(place()) as connection:
        number = connection.info.server_version
    return {f"{name}": server, "PostgreSQL": f"{number // 10_000}.{number % 10_000}"}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not here"
