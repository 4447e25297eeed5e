"""What can be told of an SQLite file: who may read it, its version, its tables, its disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

from sessionstore.cli.checks.finding import Finding, failed, latency, ok, warning
from sessionstore.cli.times import shown
from sessionstore.errors import SessionStoreError
from sessionstore.sqlite.file import SCHEMA_VERSION, has_leases, schema_version
from sessionstore.store import SessionStore

__all__ = ["check_file", "check_sqlite"]

_LITTLE = 100 * 2**20  # bytes


def check_sqlite(file: Path, store: SessionStore) -> Iterator[Finding]:
    """Look at a file of a store; nothing is changed in it.

    Args:
        file: The file.
        store: The store in it.

    Yields:
        What was found.
    """
    yield ok("version", f"SQLite {sqlite3.sqlite_version}")
    yield from check_file(file, "permissions")
    yield _disk(file)
    schema = _schema(file)
    yield schema
    if schema.state == "ok":
        yield latency(lambda: store.list_sessions(limit=1))
        yield _clock(store)


def check_file(file: Path, check: str) -> Iterator[Finding]:
    """Tell whether the user may write to a file, and who else may read it."""
    if not os.access(file, os.R_OK | os.W_OK) or not os.access(file.parent, os.W_OK):
        yield failed(check, f"{file} and its folder must be writable: look at their permissions")
        return
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        yield warning(check, f"others may read {file}: chmod 600 it")
        return
    yield ok(check, f"{file} is the user's alone, and writable")


def _disk(file: Path) -> Finding:
    size, free = file.stat().st_size, shutil.disk_usage(file.parent).free
    text = f"{size / 2**20:,.1f} MiB used, {free / 2**20:,.0f} MiB free"
    return warning("disk", f"{text}: make room") if free < _LITTLE else ok("disk", text)


def _schema(file: Path) -> Finding:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            version = schema_version(connection, str(file))
            leases = has_leases(connection)
    except (sqlite3.Error, SessionStoreError) as error:
        return failed("schema", str(error))
    if version > SCHEMA_VERSION:
        return failed("schema", "a newer version of sessionstore made this file: upgrade it")
    if not version:
        return warning("schema", "the file is empty: the first use makes its tables")
    more = "" if leases else "; the table of leases is made at the next use"
    return ok("schema", f"the tables are of version {version}{more}")


def _clock(store: SessionStore) -> Finding:
    newest = store.list_sessions(limit=1).sessions
    ahead = newest[0].updated_at - datetime.now(timezone.utc) if newest else timedelta()
    if ahead > timedelta(minutes=1):
        at = shown(newest[0].updated_at)
        return warning("clock", f"the newest session is from {at} UTC, ahead of the clock: set it")
    return ok("clock", "no session is from a later time than now")
