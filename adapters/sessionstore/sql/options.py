"""The options in a URL of SQLAlchemy: each is checked when the store is made, not at its first use.

A driver would refuse one when it connects: with an error of its own, or with one that looks as if
the database were away.
"""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from sqlalchemy import URL
from sqlalchemy.exc import ArgumentError

from sessionstore.arguments.urls import BAD_HOST, BAD_TEXT, are_texts, is_host, shown_option

__all__ = ["require_libpq", "require_options"]

_PORTS = range(1, 65_536)
_TLS = ("TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
_CHOICES: dict[str, tuple[str, ...]] = {
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
    "ssl_max_protocol_version": _TLS,
    "ssl_min_protocol_version": _TLS,
    "sslcertmode": ("disable", "allow", "require"),
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "target_session_attrs": (
        "any",
        "read-write",
        "read-only",
        "primary",
        "standby",
        "prefer-standby",
    ),
}
_NUMBERS = (
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "tcp_user_timeout",
)
_SQLITE = {
    "cached_statements",
    "check_same_thread",
    "detect_types",
    "isolation_level",
    "timeout",
}
# Where to look for what a driver takes, and what SQLAlchemy takes out before.
_DRIVERS: dict[str, tuple[str, str, frozenset[str]]] = {
    "asyncpg": (
        "asyncpg",
        "connect",
        frozenset(
            {"async_fallback", "prepared_statement_cache_size", "prepared_statement_name_func"}
        ),
    ),
    "pymysql": ("pymysql.connections", "Connection", frozenset()),
}
# What asyncpg takes as a number or an object: a URL has texts only.
_NOT_TEXT = {
    "connection_class",
    "direct_tls",
    "loop",
    "max_cacheable_statement_size",
    "max_cached_statement_lifetime",
    "record_class",
    "server_settings",
    "statement_cache_size",
    "timeout",
}
_AN_OPTION = "an option in this URL of a database has a value that it can't have: look at each"


def require_libpq(parameters: Mapping[str, Any]) -> None:
    """Refuse parameters of libpq that have a value that it would refuse, or misread.

    Args:
        parameters: Their values by name.

    Raises:
        ValueError: It names the parameter, and what it may be.
    """
    for name, value in parameters.items():
        text = "" if value is None else str(value)
        if not text:  # as if it were not there
            continue
        if name in _CHOICES and not _is_among(_CHOICES[name], text):
            raise ValueError(f"{name} must be one of {', '.join(_CHOICES[name])}")
        if name in _NUMBERS and not text.strip().removeprefix("-").isdecimal():
            raise ValueError(f"{name} must be a whole number")
        if name == "connect_timeout" and not math.isfinite(_number(text)):
            raise ValueError("connect_timeout must be a number of seconds")
        if name == "host" and not all(map(is_host, _names(text))):
            raise ValueError(f"this address of PostgreSQL is not valid: {BAD_HOST}")
        if name == "port" and not all(map(_is_port, filter(None, text.split(",")))):
            raise ValueError("port must be a whole number from 1 to 65535, one for each host")
    if not are_texts(parameters.values()):
        raise ValueError(f"these parameters of PostgreSQL are not valid: {BAD_TEXT}")
    root, mode = str(parameters.get("sslrootcert") or ""), str(parameters.get("sslmode") or "")
    if root not in ("", "system") and mode.startswith("verify") and not os.path.isfile(root):
        raise ValueError("sslrootcert names a file that is not there")


def require_options(url: URL) -> None:
    """Refuse a URL with an option that its driver would refuse only when it connects.

    Args:
        url: With its driver.

    Raises:
        ValueError: It names the option; never a value, which may be a password.
    """
    backend, _, driver = url.drivername.partition("+")
    if url.port is not None and url.port not in _PORTS:
        raise ValueError("port must be a whole number from 1 to 65535")
    if not all(map(is_host, _names(url.host or ""))):
        raise ValueError(f"this URL of a database is not valid: {BAD_HOST}")
    if backend == "sqlite":
        _require_sqlite(url)
    elif driver in ("psycopg", "psycopg2"):
        require_libpq({name: ",".join(values) for name, values in url.normalized_query.items()})
    elif driver == "asyncpg":
        _require_asyncpg(url.query)
    elif driver == "pymysql":
        _require_charset(url.query.get("charset"))
        _require_latin_1(url.password)
    elif driver in ("aiomysql", "asyncmy"):
        _require_latin_1(url.password)
    try:
        arguments = _arguments(url)
    except ImportError:  # which is an error of ours later
        return
    except (ArgumentError, TypeError, ValueError):
        raise ValueError(_AN_OPTION) from None
    _require_known(url, driver, _known(driver), arguments)


def _arguments(url: URL) -> Mapping[str, Any]:
    """Give what its driver is called with: some dialects ask the driver itself, as Oracle's."""
    kind: Any = url.get_dialect()
    arguments: Mapping[str, Any] = kind(dbapi=kind.import_dbapi()).create_connect_args(url)[1]
    return arguments


def _require_asyncpg(query: Mapping[str, Any]) -> None:
    for name in query.keys() & _NOT_TEXT:
        raise ValueError(f"{name} can't be said in a URL: use AgentDb(url, connect_args=...)")
    if not _number(query.get("command_timeout", 1)) > 0:
        raise ValueError("command_timeout must be a number of seconds above 0")
    if query.get("ssl", "prefer") not in _CHOICES["sslmode"]:
        raise ValueError(f"ssl must be one of {', '.join(_CHOICES['sslmode'])}")


def _require_charset(name: Any) -> None:
    with suppress(ImportError):
        module = import_module("pymysql.charset")
        if name is not None and module.charset_by_name(name) is None:
            raise ValueError("charset is not one that pymysql knows: leave it out, or use utf8mb4")


def _require_latin_1(password: str | None) -> None:
    try:
        (password or "").encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(
            "this driver takes a password of Latin-1 only: give AgentDb the bytes of another, "
            'connect_args={"password": password.encode()}'
        ) from None


def _require_sqlite(url: URL) -> None:
    timeout = url.query.get("timeout", "0")
    if not 0 <= _number(timeout) < math.inf:
        raise ValueError("timeout must be a number of seconds, 0 or more")
    if "uri" not in url.query and not url.drivername.endswith("cipher"):
        _require_known(url, "SQLite's driver", _SQLITE, url.query)


def _require_known(url: URL, driver: str, known: Iterable[str], given: Iterable[str]) -> None:
    known = set(known)
    for name in given:
        if known and name not in known:
            shown = shown_option(name, url.query)
            raise ValueError(f"{driver} knows no option {shown}")


def _known(driver: str) -> set[str]:
    if driver == "psycopg2":
        return _known_to_libpq()
    if driver == "psycopg":
        return _known_to_libpq() | {"autocommit", "context", "prepare_threshold"}
    if driver not in _DRIVERS:
        return set()
    module, name, more = _DRIVERS[driver]
    try:
        connect: Callable[..., Any] = getattr(import_module(module), name)
    except ImportError:
        return set()
    return {*inspect.signature(connect).parameters, *more}


def _known_to_libpq() -> set[str]:
    try:
        from psycopg.pq import Conninfo  # noqa: PLC0415 - where it is installed

        return {option.keyword.decode() for option in Conninfo.get_defaults()} | {"dsn", "options"}
    except ImportError:
        return set()


def _names(hosts: str) -> list[str]:
    return [host for host in hosts.split(",") if host[:1] not in ("/", "@")]  # those are sockets


def _is_among(choices: tuple[str, ...], text: str) -> bool:
    # libpq does not look at the case of the versions of TLS.
    return text in choices or (choices is _TLS and text.lower() in map(str.lower, choices))


def _is_port(text: str) -> bool:
    text = text.strip()
    return text.isascii() and text.isdecimal() and int(text[:10]) in _PORTS


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
