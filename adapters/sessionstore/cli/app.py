"""The commands."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from sessionstore.cli.copying import copy
from sessionstore.cli.demo import demo
from sessionstore.cli.doctor import doctor
from sessionstore.cli.ending import plainly_ended
from sessionstore.cli.erasing import erase
from sessionstore.cli.exporting import export
from sessionstore.cli.importing import import_
from sessionstore.cli.ls import ls
from sessionstore.cli.pending import pending, recover
from sessionstore.cli.prune import prune
from sessionstore.cli.rotating import rotate
from sessionstore.cli.show import show

__all__ = ["app"]

app: typer.Typer = typer.Typer(
    name="sessionstore",
    help="""Look at sessions, and move, delete, check and repair them.

    A command takes its store by --store URL, by --store-file FILE, or from SESSIONSTORE_URL.
    Exit status: 0 done, 1 failed, 2 wrong usage, 3 the store is unavailable, 4 something is left
    that could not be done, 130 interrupted.""",
    # Its boxes are not one line, and its tracebacks show variables, and so what users wrote.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("sessionstore"))
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


for _name, _command in (
    ("ls", ls),
    ("show", show),
    ("export", export),
    ("import", import_),
    ("copy", copy),
    ("prune", prune),
    ("erase", erase),
    ("rotate", rotate),
    ("doctor", doctor),
    ("pending", pending),
    ("recover", recover),
    ("demo", demo),
):
    app.command(_name)(plainly_ended(_command))
