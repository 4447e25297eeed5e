"""``sessionstore import``: sessions of a file, or of another library's store."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.options import Agent, Json, Store, StoreFile, Timeout, User, Yes
from sessionstore.cli.places import open_given
from sessionstore.cli.transfers import report, transferring
from sessionstore.transfer import import_sessions

__all__ = ["import_"]


def import_(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="What export wrote; - for the input.")
    ],
    *,
    store: Store = None,
    store_file: StoreFile = None,
    user: User = None,
    agent: Agent = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read each message back, and compare.")
    ] = False,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Put what was exported into a store.

    Owners, times, metadata and order are kept. A session that is there already is left as it
    is. Interrupted, run it again: each is there once.
    """
    if source != "-" and not Path(source).is_file():
        raise UsageError(f"there is no file {source}: look at the path")
    with (
        open_given(store, store_file, timeout, makes=True) as opened,
        transferring("Importing") as progress,
    ):
        done = import_sessions(
            sys.stdin.buffer if source == "-" else source,
            opened,
            user_id=user,
            agent_id=agent,
            verify=verify,
            progress=progress,
        )
    report(done, "imported", as_document=as_document)
