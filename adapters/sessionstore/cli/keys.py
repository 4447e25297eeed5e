"""The keys of an encrypted store, on the command line: never as an argument."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, overload

import typer
from msgspec.structs import replace

from sessionstore._runtime.sealed import is_sealed
from sessionstore.cli.ending import UsageError
from sessionstore.errors import InvalidSessionError
from sessionstore.models import SessionData, SessionInfo
from sessionstore.operations import Operation, Restore
from sessionstore.store import SessionStore
from sessionstore.wrapper import WrapperSessionStore

if TYPE_CHECKING:
    from sessionstore.encryption import EncryptedSessionStore

__all__ = ["ENVIRONMENT", "KeyFile", "OnceEncrypted", "encrypted", "marked", "with_keys"]

T = TypeVar("T")

ENVIRONMENT = "SESSIONSTORE_KEYS"
_SHOWN = "[encrypted]"

KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="FILE",
        help="A file with the keys of an encrypted store, a line each: ID: BASE64. Default: "
        f"{ENVIRONMENT}, which holds such lines.",
    ),
]


def with_keys(store: SessionStore, file: Path | None) -> SessionStore:
    """Give a store as its keys open it; as it is, where none are given.

    Args:
        store: The store.
        file: What ``--keys`` was given.

    Raises:
        UsageError: As for `encrypted`.
    """
    if file is None and not os.environ.get(ENVIRONMENT):
        return store
    return encrypted(store, file)


def encrypted(
    store: SessionStore, file: Path | None, *, allow_plain: bool = False
) -> EncryptedSessionStore:
    """Give a store as its keys open it.

    Args:
        store: The store.
        file: What ``--keys`` was given; ``None`` for the environment.
        allow_plain: What is not encrypted is read, too.

    Raises:
        UsageError: There are no keys, or no valid ones.
        ImportError: ``cryptography`` is not installed.
    """
    from sessionstore.encryption import (  # noqa: PLC0415 - only this needs it
        EncryptedSessionStore,
        keys_in,
    )

    where = ENVIRONMENT if file is None else f"the file {file}"
    try:
        return EncryptedSessionStore(store, keys_in(_text(file)), allow_plain=allow_plain)
    except InvalidSessionError as error:
        raise UsageError(f"{where}: {error}") from None


class OnceEncrypted(WrapperSessionStore):
    """An encrypted store that is filled, and refuses what is encrypted already.

    That would be so twice, and be read with neither of its keys alone.
    """

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    def run(self, operation: Any) -> Any:
        """Hand an operation on, but for a `Restore` of what is encrypted.

        Raises:
            InvalidSessionError: It is one.
        """
        if isinstance(operation, Restore):
            extras = [message.extra for message in operation.messages]
            if any(map(is_sealed, [*extras, *operation.metadata.values()])):
                raise InvalidSessionError(_TWICE)
        return super().run(operation)


_TWICE = "it is encrypted already: read it with its keys, or write it without any, as it is"


def _text(file: Path | None) -> str:
    if file is None:
        text = os.environ.get(ENVIRONMENT)
        if not text:
            raise UsageError(f"no keys are named: give --keys FILE, or set {ENVIRONMENT}")
        return text
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"the file {file} that is to hold keys can't be read: {why}") from None


def marked(session: SessionData | SessionInfo) -> Any:
    """Give a session that says of what is encrypted that it is, for people to read."""
    messages = [
        replace(message, content=_SHOWN, extra={}) if is_sealed(message.extra) else message
        for message in session.messages
    ]
    metadata = {
        name: _SHOWN if is_sealed(value) else value for name, value in session.metadata.items()
    }
    return replace(session, messages=messages, metadata=metadata)
