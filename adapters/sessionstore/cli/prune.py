"""``sessionstore prune``: deletes what is older than a store is to keep it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Annotated

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.options import Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import confirm, counted, say
from sessionstore.cli.places import open_at, url_given

__all__ = ["prune"]

_MOST = 1_000  # that are counted before the question


def prune(
    *,
    retention_days: Annotated[
        float, typer.Option(metavar="DAYS", help="Older is what was not written to for so long.")
    ],
    store: Store = None,
    store_file: StoreFile = None,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Delete what was not written to for so many days.

    In Redis sessions go by themselves, by the TTL that the application gives its store: this takes
    those that are gone out of the lists.
    """
    if not retention_days > 0:
        raise UsageError("--retention-days must be a number of days above 0")
    url = url_given(store, store_file)
    with open_at(url, timeout, retention_days=retention_days) as opened:
        if not yes:
            with open_at(url, timeout) as all_of_them:
                before = datetime.now(timezone.utc) - timedelta(days=retention_days)
                page = all_of_them.list_sessions(updated_before=before, limit=_MOST)
            count = counted(len(page.sessions), "session") + " or more" * bool(page.cursor)
            days = f"{retention_days:g} days"
            confirm(f"Prune {opened!r}: delete {count} not written to for {days}", yes=yes)
        say(f"deleted {counted(opened.prune_expired(), 'session')}")
