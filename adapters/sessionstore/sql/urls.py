"""SQLAlchemy's URLs: which driver serves one, what its engine is made with, and what to refuse."""

from __future__ import annotations

import importlib.util
import re
from itertools import chain
from typing import Any

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import QueuePool

from sessionstore.arguments.urls import BAD_TEXT, KNOWN, THREE_SLASHES, are_texts

__all__ = [
    "KEEPALIVES",
    "NO_URL",
    "POOL_TIMEOUT",
    "driver_of",
    "engine_options",
    "is_in_memory",
    "no_driver",
    "place_of",
    "pool_size",
    "require_encoded",
    "shown_url",
    "sqlite_timeout",
    "url_of",
]

KEEPALIVES = {"keepalives_idle": 60, "keepalives_interval": 10, "keepalives_count": 3}
"""For libpq: before a load balancer or NAT gateway forgets a connection, after 350 seconds, say."""
_POOL_SIZE = 15
POOL_TIMEOUT = 10.0
_SQLITE_TIMEOUT = 5.0
# The first one installed is taken; psycopg serves sync and async under one name.
_SYNC_DRIVERS: dict[str, tuple[str, ...]] = {
    "mariadb": ("pymysql", "mysqldb"),
    "mysql": ("pymysql", "mysqldb"),
    "postgresql": ("psycopg", "psycopg2"),
    "sqlite": ("pysqlite",),
}
_ASYNC_DRIVERS: dict[str, tuple[str, ...]] = {
    "mariadb": ("asyncmy",),
    "mysql": ("asyncmy",),
    "postgresql": ("psycopg", "asyncpg"),
}
_MODULES = {"mysqldb": "MySQLdb", "pysqlite": "sqlite3"}
_PACKAGES = {
    "aiomysql": "aiomysql",
    "aiosqlite": "aiosqlite",
    "asyncmy": "asyncmy",
    "asyncpg": "asyncpg",
    "mysqldb": "mysqlclient",
    "psycopg": "'sessionstore[postgres]'",
    "psycopg2": "psycopg2-binary",
    "pymysql": "pymysql",
}
_A_URL = re.compile(r"[\w+]+://(?P<authority>[^/?]*)(?P<rest>.*)", re.DOTALL)
NO_URL = "no store for a URL that SQLAlchemy can't read, or whose database it does not know"
_ENCODE = (
    "a password or another value in this URL is not percent-encoded: write it as "
    "urllib.parse.quote(password, safe='') does, in which @ is %40, / is %2F and ? is %3F"
)
_NO_DIALECT = (
    f"no store for a URL that starts with {{!r}}: SQLAlchemy knows no such database; use {KNOWN}"
)


def url_of(given: str | URL) -> URL:
    """Read a URL, and refuse one that can't be meant, without a word of what is in it."""
    _require_a_url(given)
    try:
        url = make_url(given)
        if url.drivername == "postgres":
            url = url.set(drivername="postgresql")
    except (ArgumentError, ValueError):
        # The error, or the URL in it, may hold a password.
        raise ValueError(NO_URL) from None
    try:
        url.get_dialect()
    except NoSuchModuleError:
        raise ValueError(_NO_DIALECT.format(url.drivername[:20])) from None
    except (ArgumentError, ValueError):
        raise ValueError(NO_URL) from None
    _require_texts(url)
    if url.get_backend_name() == "sqlite":
        if url.host:
            raise ValueError(f"no store for a URL of SQLite with a host: {THREE_SLASHES}")
    elif isinstance(given, str):
        require_encoded(given)
    if "+" in url.drivername:
        return url
    return url.set(drivername=driver_of(url, is_async=False) or url.drivername)


def _require_a_url(given: object) -> None:
    if not isinstance(given, (str, URL)):
        kind = type(given).__name__
        raise TypeError(f"a database must be a URL, an AgentDb or an engine, not {kind}")
    if isinstance(given, str) and "://" not in given:
        raise ValueError(f"no store for a URL without a scheme: {THREE_SLASHES}")


def _require_texts(url: URL) -> None:
    options = chain(url.normalized_query, *url.normalized_query.values())
    if not are_texts([url.username, url.password, url.host, url.database, *options]):
        raise ValueError(f"this URL of a database is not valid: {BAD_TEXT}")


def driver_of(url: URL, *, is_async: bool) -> str | None:
    """Give the name of the sync or the async driver: the URL's own, or the first installed."""
    backend, _, named = url.drivername.partition("+")
    known = (_ASYNC_DRIVERS if is_async else _SYNC_DRIVERS).get(backend)
    if known is None or named in known or (named and url.get_dialect().is_async == is_async):
        return url.drivername
    for driver in known:
        if importlib.util.find_spec(_MODULES.get(driver, driver)):
            return f"{backend}+{driver}"
    return None


def no_driver(url: URL, *, is_async: bool, plain: bool = False) -> str:
    """Say what to install: the driver that the URL names, or the first that suits it.

    Args:
        url: The URL.
        is_async: It is for the async methods.
        plain: Don't say for which.

    Returns:
        The words of an error.
    """
    backend, _, named = url.drivername.partition("+")
    suits = named and url.get_dialect().is_async == is_async
    known = (_ASYNC_DRIVERS if is_async else _SYNC_DRIVERS).get(backend, ("",))
    package = _PACKAGES.get(named if suits else known[0])
    kind = "" if plain else "async " if is_async else "blocking "
    words = f"no {kind}driver for {url.drivername} is installed"
    return f"{words}: pip install {package}" if package else words


def require_encoded(given: str) -> None:
    """Refuse a URL that a parser may take apart so that part of a password is the host's name."""
    if (url := _A_URL.match(given)) and given.count("@") > ("@" in url["authority"]):
        raise ValueError(_ENCODE)


def is_in_memory(url: URL) -> bool:
    """Tell whether it is SQLite's without a file."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def place_of(url: URL) -> tuple[str, ...]:
    """Give what a database is known by in this process: its address, its name, the user."""
    return tuple(str(part or "") for part in (url.host, url.port, url.database, url.username))


def pool_size(options: dict[str, Any]) -> int | None:
    """Give how many connections an engine opens at most; ``None`` where its pool says no number."""
    size, more = options.get("pool_size"), options.get("max_overflow", 10)
    return size + more if size and more >= 0 and "poolclass" not in options else None


def shown_url(parameters: dict[str, Any]) -> URL:
    """Give what a `repr` shows; with several hosts, the first of them."""
    host = str(parameters.get("host") or parameters.get("hostaddr") or "").partition(",")[0]
    port = str(parameters.get("port") or "").partition(",")[0]
    database = str(parameters.get("dbname") or "")
    if "=" in database or "://" in database:
        database = ""  # libpq takes a whole connection string here, password and all
    return URL.create(
        "postgresql+psycopg",
        host=host or None,
        port=int(port) if port.isdecimal() else None,
        database=database or None,
    )


def sqlite_timeout(url: URL, options: dict[str, Any]) -> float:
    """Give how long an operation on an SQLite file may wait, as ``sqlite3.connect`` takes it."""
    given = options.get("connect_args", {}).get("timeout", url.query.get("timeout"))
    return _SQLITE_TIMEOUT if given is None else float(given)


def engine_options(url: URL, options: dict[str, Any]) -> dict[str, Any]:
    """Give what an engine is made with: what was given counts, where it is there."""
    arguments: dict[str, Any] = {}
    defaults: dict[str, Any] = {"hide_parameters": True}
    if "poolclass" not in options:
        # As many as SQLAlchemy's 5 and 10 more, but those 10 would be opened for each use again.
        defaults |= {"pool_size": _POOL_SIZE, "max_overflow": 0, "pool_use_lifo": True}
        defaults["pool_timeout"] = POOL_TIMEOUT
    backend, _, driver = url.drivername.partition("+")
    if driver == "psycopg":
        arguments["prepare_threshold"] = None
    if driver in ("psycopg", "psycopg2"):
        arguments["client_encoding"] = "UTF8"
        arguments |= {name: n for name, n in KEEPALIVES.items() if name not in url.query}
        defaults["use_native_hstore"] = False  # which would ask the server for its number
    if backend in ("mysql", "mariadb"):
        # Without the gaps between rows locked, writers of different sessions do not meet.
        defaults["isolation_level"] = "READ COMMITTED"
    if is_in_memory(url):
        # A database in memory lives in its one connection, which operations take in turn.
        arguments["check_same_thread"] = False
        defaults |= {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 0}
    given = options.get("connect_args", {})
    return {**defaults, **options, "connect_args": {**arguments, **given}}
