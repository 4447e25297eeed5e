"""``sessionstore rotate``: what is under an old key is sealed anew under the first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sessionstore.cli.ending import Ending, Status
from sessionstore.cli.keys import KeyFile, encrypted
from sessionstore.cli.options import Json, Store, StoreFile, Timeout, User, Yes
from sessionstore.cli.output import counted, say, say_json, tell
from sessionstore.cli.places import open_given
from sessionstore.cli.transfers import transferring

if TYPE_CHECKING:
    from sessionstore.encryption import RotationReport

__all__ = ["rotate"]


def rotate(
    *,
    store: Store = None,
    store_file: StoreFile = None,
    keys: KeyFile = None,
    allow_plain: Annotated[
        bool, typer.Option("--allow-plain", help="Seal what is not encrypted yet, too.")
    ] = False,
    user: User = None,
    batch: Annotated[
        int, typer.Option(min=1, metavar="N", help="How many messages are read in one step.")
    ] = 500,
    as_document: Json = False,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Seal anew what is under another key than the first.

    The store may be in use: give every process the new key before, as the first of its keys.
    Interrupted, run it again: it seals what is left.
    """
    with (
        open_given(store, store_file, timeout) as opened,
        encrypted(opened, keys, allow_plain=allow_plain) as sealed,
        transferring("Rotating") as progress,
    ):
        done = sealed.rotate(user_id=user, batch=batch, progress=progress)
    _report(done, as_document=as_document)


def _report(done: RotationReport, *, as_document: bool) -> None:
    if as_document:
        say_json(done)
    else:
        sealed = f"{counted(done.messages, 'message')}, {counted(done.values, 'value')} of metadata"
        say(f"went through {counted(done.sessions, 'session')}, sealed anew {sealed}")
        for left in done.left:
            tell(f"left: session {left.session_id!r}: {left.why}")
    if not done.complete:
        raise Ending(Status.INCOMPLETE, f"{counted(len(done.left), 'session')} left{_why(done)}")


def _why(done: RotationReport) -> str:
    missing = ", ".join(map(repr, done.missing_keys))
    return f": these keys are missing or wrong: {missing}" if missing else ""
