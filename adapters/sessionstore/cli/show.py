"""``sessionstore show``: what was said in a session."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Annotated

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.files import write_private
from sessionstore.cli.keys import KeyFile, marked, with_keys
from sessionstore.cli.options import Json, Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import confirm, say, say_json, say_raw, tell
from sessionstore.cli.places import open_given
from sessionstore.cli.transcript import transcript
from sessionstore.errors import SessionNotFoundError
from sessionstore.models import SessionData

__all__ = ["show"]

_PICTURES = (".png", ".svg", ".pdf")


def show(
    session_id: Annotated[str, typer.Argument(metavar="SESSION", help="The session's id.")],
    *,
    store: Store = None,
    store_file: StoreFile = None,
    keys: KeyFile = None,
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
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw turns and calls over time: a .png, .svg or .pdf."),
    ] = None,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Show what was said in a session.

    Each call of a tool has its result below it.
    """
    if sum((as_document, html is not None, plot is not None)) > 1:
        raise UsageError("give --json, --html or --plot, only one of them")
    if plot is not None:
        _check_plot(plot)
    with open_given(store, store_file, timeout) as opened:
        session = with_keys(opened, keys).get(session_id, limit=last, user_id=user)
    if session is None:
        raise SessionNotFoundError(f"there is no session {session_id!r}: ls lists those there are")
    if html is not None:
        _page(marked(session), html, yes=yes)
    elif plot is not None:
        _plot(session, plot, yes=yes)
    elif as_document:
        say_json(session)
    else:
        for line in transcript(marked(session)):
            say(*line)


def _page(session: SessionData, file: Path, *, yes: bool) -> None:
    from sessionstore.notebook import document_html  # noqa: PLC0415 - only this needs it

    page = document_html(session)
    if str(file) == "-":
        say_raw(page)
        return
    _write(file, page.encode(), yes=yes)


def _check_plot(file: Path) -> None:
    """Refuse what can't be drawn before a store is asked."""
    if file.suffix.lower() not in _PICTURES:
        raise UsageError("the FILE of --plot must end in .png, .svg or .pdf")
    import sessionstore.plots  # noqa: F401, PLC0415 - it says what is missing


def _plot(session: SessionData, file: Path, *, yes: bool) -> None:
    from sessionstore.plots import session_timeline  # noqa: PLC0415 - only this needs matplotlib

    drawn = BytesIO()
    session_timeline(session).savefig(drawn, format=file.suffix[1:].lower())
    _write(file, drawn.getvalue(), yes=yes)


def _write(file: Path, content: bytes, *, yes: bool) -> None:
    if file.exists():
        confirm(f"Write over {file}", yes=yes)
    write_private(file, content)
    tell(f"wrote {file}")
