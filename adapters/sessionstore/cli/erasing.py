"""``sessionstore erase``: all of a user's data, with a receipt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sessionstore.cli.ending import Ending, Status
from sessionstore.cli.files import write_private
from sessionstore.cli.options import Json, Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import confirm, counted, say, say_json, tell
from sessionstore.cli.pending import open_fallback
from sessionstore.cli.places import open_given
from sessionstore.cli.text import in_lines
from sessionstore.fallback import FallbackSessionStore
from sessionstore.store import SessionStore
from sessionstore.transfer import ErasureReceipt, erase_user

__all__ = ["erase"]

_MOST = 1_000  # that are counted before the question


def erase(
    *,
    user: Annotated[str, typer.Option(metavar="ID", help="Whose data is erased.")],
    store: Store = None,
    store_file: StoreFile = None,
    fallback: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The fallback's SQLite file, or URL: erased there, too."),
    ] = None,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the receipt as JSON to a file.")
    ] = None,
    rewrite: Annotated[
        bool,
        typer.Option(help="Write SQLite files anew, so that no free space holds what was deleted."),
    ] = True,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Erase all of a user's data, with a receipt.

    It says what was erased where, and what is left and why.

    It is safe to run again: it erases what is left, or has come since.
    """
    opened = open_given(store, store_file, timeout)
    with opened:
        if not yes:
            confirm(_question(opened, user), yes=yes)
        if fallback is None:
            done = erase_user(opened, user, rewrite=rewrite)
        else:
            journals = open_fallback(fallback, timeout)
            with FallbackSessionStore(opened, fallback=journals) as both:
                done = erase_user(both, user, rewrite=rewrite)
    _report(done, receipt, as_document=as_document)


def _question(store: SessionStore, user: str) -> str:
    page = store.list_sessions(user_id=user, limit=_MOST)
    count = counted(len(page.sessions), "session") + " or more" * bool(page.cursor)
    return f"Erase all of user {user!r} from {store!r}: {count}, for good"


def _report(done: ErasureReceipt, file: Path | None, *, as_document: bool) -> None:
    if file is not None:
        write_private(file, f"{done.json()}\n".encode())
        tell(f"wrote the receipt to {file}")
    if as_document:
        say_json(done)
    else:
        say(in_lines(str(done)))
    if not done.complete:
        raise Ending(Status.INCOMPLETE, "something is left: see the receipt, and run it again")
