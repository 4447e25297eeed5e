"""``sessionstore copy``: all sessions of a store, in another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.keys import OnceEncrypted, encrypted
from sessionstore.cli.options import Agent, Json, Timeout, User, Verify, Yes
from sessionstore.cli.places import as_url, open_at
from sessionstore.cli.transfers import report, transferring
from sessionstore.transfer import copy_sessions

__all__ = ["copy"]


def copy(
    source: Annotated[
        str,
        typer.Argument(metavar="FROM", help="A store's URL, or @FILE for a file that holds it."),
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same; a new file is made.")],
    *,
    user: User = None,
    agent: Agent = None,
    from_keys: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The keys of an encrypted FROM, a line each: ID: BASE64."
        ),
    ] = None,
    to_keys: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The same of TO: it is written encrypted.")
    ] = None,
    verify: Verify = False,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Copy sessions from one store to another.

    Owners, times, metadata and order are kept. A session that is there already is left as it
    is. Interrupted, run it again: each is there once.
    """
    urls = as_url(source), as_url(target)
    if urls[0] == urls[1]:
        raise UsageError("FROM and TO are the same store")
    with (
        open_at(urls[0], timeout) as opened,
        open_at(urls[1], timeout, makes=True) as other,
        transferring("Copying") as progress,
    ):
        done = copy_sessions(
            opened if from_keys is None else encrypted(opened, from_keys),
            other if to_keys is None else OnceEncrypted(encrypted(other, to_keys)),
            user_id=user,
            agent_id=agent,
            verify=verify,
            progress=progress,
        )
    report(done, "copied", as_document=as_document)
