"""The options that commands share: each follows the command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = ["Agent", "Json", "Store", "StoreFile", "Timeout", "User", "Verify", "Yes"]

Store: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The store; @FILE for a file that holds its URL. Default: SESSIONSTORE_URL.",
    ),
]
StoreFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="A file whose first line is the store's URL: its password is in no list of processes.",
    ),
]
Timeout: TypeAlias = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="How long the store may take for one step."),
]
Yes: TypeAlias = Annotated[
    bool, typer.Option("--yes", "-y", help="Answer every question with yes.")
]
User: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ID", help="Only the sessions of this user.")
]
Agent: TypeAlias = Annotated[
    str | None, typer.Option(metavar="ID", help="Only the sessions with this agent.")
]
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Verify: TypeAlias = Annotated[
    bool, typer.Option("--verify", help="Read each message back, and compare.")
]
