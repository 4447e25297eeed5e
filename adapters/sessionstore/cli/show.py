"""``sessionstore show``: what was said in a session."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.files import write_private
from sessionstore.cli.options import Json, Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import confirm, say, say_json, say_raw, tell
from sessionstore.cli.places import open_given
from sessionstore.cli.transcript import transcript
from sessionstore.errors import SessionNotFoundError
from sessionstore.models import SessionData

__all__ = ["show"]


def show(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")],
    *,
    store: Store = None,
    store_file: StoreFile = None,
    last: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Only the last N messages.")
    ] = None,
    user: Annotated[
        str | None, typer.Option(metavar="ID", help="Only if the session is this user's.")
    ] = None,
    as_document: Json = False,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write one page of HTML that loads nothing; - prints it."
        ),
    ] = None,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Show what was said in a session.

    Each call of a tool has its result below it.
    """
    if as_document and html is not None:
        raise UsageError("give --json or --html, not both")
    with open_given(store, store_file, timeout) as opened:
        session = opened.get(session_id, limit=last, user_id=user)
    if session is None:
        raise SessionNotFoundError(f"there is no session {session_id!r}: ls lists those there are")
    if html is not None:
        _page(session, html, yes=yes)
    elif as_document:
        say_json(session)
    else:
        for line in transcript(session):
            say(*line)


def _page(session: SessionData, file: Path, *, yes: bool) -> None:
    from sessionstore.notebook import document_html  # noqa: PLC0415 - only this needs it

    page = document_html(session)
    if str(file) == "-":
        say_raw(page)
        return
    if file.exists():
        confirm(f"Write over {file}", yes=yes)
    write_private(file, page.encode())
    tell(f"wrote {file}")
