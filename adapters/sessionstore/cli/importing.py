"""``sessionstore import``: sessions of a file, or of another library's store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.formats import reading_of
from sessionstore.cli.keys import KeyFile, OnceEncrypted, with_keys
from sessionstore.cli.options import Agent, Json, Store, StoreFile, Timeout, User, Verify, Yes
from sessionstore.cli.places import as_url, open_given
from sessionstore.cli.transfers import report, transferring
from sessionstore.transfer import import_from, import_sessions
from sessionstore.transfer.readers import READERS

__all__ = ["import_"]


def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="What export wrote, - for the input; with --from, a file or a URL."
        ),
    ],
    *,
    store: Store = None,
    store_file: StoreFile = None,
    keys: KeyFile = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FORMAT",
            help=f"What another library has stored: {', '.join(READERS)}.",
            autocompletion=lambda: list(READERS),
        ),
    ] = None,
    options: Annotated[
        list[str] | None,
        typer.Option(
            "--option", metavar="NAME=VALUE", help="What a reader takes more: table=chats, say."
        ),
    ] = None,
    as_user: Annotated[
        str | None, typer.Option(metavar="ID", help="With --from: whose the sessions become.")
    ] = None,
    as_agent: Annotated[
        str | None, typer.Option(metavar="ID", help="With --from: the agent of the sessions.")
    ] = None,
    user: User = None,
    agent: Agent = None,
    verify: Verify = False,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Put what was exported into a store.

    Owners, times, metadata and order are kept. A session that is there already is left as it
    is. Interrupted, run it again: each is there once. With --from it reads what other libraries
    have stored, and names what it can't read.
    """
    reading = None
    if form is not None:
        reading = reading_of(form, as_url(source), options or [], as_user, as_agent)
    elif options or as_user is not None or as_agent is not None:
        raise UsageError("--option, --as-user and --as-agent are for --from")
    elif source != "-" and not Path(source).is_file():
        raise UsageError(
            f"there is no file {source}: look at the path, or say what it is by --from"
        )
    wanted: dict[str, Any] = {"user_id": user, "agent_id": agent}
    with (
        open_given(store, store_file, timeout, makes=True) as opened,
        transferring("Importing") as progress,
    ):
        target = with_keys(opened, keys)
        target = target if target is opened else OnceEncrypted(target)
        if reading is not None:
            done = import_from(reading, target, **wanted, verify=verify, progress=progress)
        else:
            file = sys.stdin.buffer if source == "-" else source
            done = import_sessions(file, target, **wanted, verify=verify, progress=progress)
    report(done, "imported", as_document=as_document)
