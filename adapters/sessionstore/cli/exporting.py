"""``sessionstore export``: sessions as lines of JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from sessionstore.cli.ending import UsageError
from sessionstore.cli.formats import FORMATS, export_to
from sessionstore.cli.keys import KeyFile, with_keys
from sessionstore.cli.options import Agent, Store, StoreFile, Timeout, User, Yes
from sessionstore.cli.output import binary_output, confirm, tell
from sessionstore.cli.places import open_given
from sessionstore.cli.transfers import report, transferring
from sessionstore.transfer import export_sessions
from sessionstore.transfer.files import FileLike

__all__ = ["export"]


def export(
    *,
    store: Store = None,
    store_file: StoreFile = None,
    keys: KeyFile = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The file; compressed if it ends in .gz."
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help=f"Write what others read, a session a line: {', '.join(FORMATS)}.",
            autocompletion=lambda: list(FORMATS),
        ),
    ] = None,
    user: User = None,
    agent: Agent = None,
    timeout: Timeout = None,
    yes: Yes = False,
) -> None:
    """Write sessions as lines of JSON.

    They go to a file or to the output; import reads them. A file is there when it is whole.
    """
    if to is not None and to not in FORMATS:
        raise UsageError(f"--to must be one of {', '.join(FORMATS)}; without it, import reads it")
    is_named = output is not None and str(output) != "-"
    if is_named and output is not None and output.is_file():
        confirm(f"Write over {output}", yes=yes)
    on_screen = not is_named and sys.stdout.isatty()
    file: FileLike = output if is_named and output is not None else binary_output()
    with (
        open_given(store, store_file, timeout) as opened,
        transferring("Exporting", hidden=on_screen) as progress,
    ):
        source = with_keys(opened, keys)
        wanted = {"user_id": user, "agent_id": agent}
        if to is None:
            done = export_sessions(source, file, **wanted, progress=progress)
        else:
            done = export_to(to, source, file, **wanted, progress=progress)
    report(done, "exported", on=tell)
