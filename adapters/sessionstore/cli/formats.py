"""What other libraries have stored, and what they read: the formats of import and export."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from sessionstore.cli.ending import UsageError
from sessionstore.cli.places import file_of
from sessionstore.cli.times import moment
from sessionstore.errors import SessionStoreError
from sessionstore.models import SessionData, require_opened
from sessionstore.store import SessionStore
from sessionstore.transfer.files import FileLike, OutputFile
from sessionstore.transfer.listing import Listing, wanted
from sessionstore.transfer.moving import ends_all
from sessionstore.transfer.readers import READERS
from sessionstore.transfer.reports import LeftSession, OnProgress, TransferProgress, TransferReport
from sessionstore.transfer.requests import run_transfer
from sessionstore.transfer.sources import require_finished

if TYPE_CHECKING:
    from sessionstore.transfer.readers.building import Reading

__all__ = ["FORMATS", "export_to", "reading_of"]

FORMATS = ("langchain-jsonl", "openai-jsonl")
"""The formats that export writes beside its own."""


def reading_of(
    form: str, place: str, options: list[str], user_id: str | None, agent_id: str | None
) -> Reading:
    """Read what another library has stored.

    Args:
        form: The format.
        place: A file or a URL.
        options: What the reader takes more, each as ``NAME=VALUE``.
        user_id: The owner of every session.
        agent_id: The agent of every session.

    Raises:
        UsageError: There is no such format, or it takes no such option, or ``when`` is no time.
    """
    reader = READERS.get(form)
    if reader is None:
        raise UsageError(f"--from must be one of {', '.join(READERS)}")
    given: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UsageError(f"--option takes NAME=VALUE, such as table=chats, not {option!r}")
        given[name.strip().replace("-", "_")] = value
    if "when" in given:
        given["when"] = moment(given["when"], "--option when")
    if form.endswith("-sqlite"):
        place = str(file_of(place) or place)
    owners = {"user_id": user_id, "agent_id": agent_id}
    given |= {name: value for name, value in owners.items() if value is not None}
    try:
        return reader(place, **given)
    except TypeError:
        names = ", ".join(given)
        raise UsageError(f"the reader of {form} does not take all of these: {names}") from None


def export_to(
    form: str,
    store: SessionStore,
    file: FileLike,
    *,
    user_id: str | None,
    agent_id: str | None,
    progress: OnProgress | None,
) -> TransferReport:
    """Write sessions in a format that another library reads, a session a line.

    Args:
        form: One of `FORMATS`.
        store: Where from.
        file: The file's name, or what is open for writing bytes.
        user_id: Only the sessions of this user.
        agent_id: Only those with this agent.
        progress: Called after each session.

    Returns:
        What became of the sessions.

    Raises:
        StoreUnavailableError: The store can't be reached; no file is left.
    """
    from sessionstore.transfer.writers import WRITERS  # noqa: PLC0415 - only this needs it

    write, out = WRITERS[form], OutputFile(file)
    copied = messages = 0
    failed: list[LeftSession] = []
    try:
        for session in _sessions(store, user_id, agent_id, failed):
            for line in write([session]):
                out.write(line)
            copied, messages = copied + 1, messages + len(session.messages)
            if progress is not None:
                progress(TransferProgress(copied, messages, session.id))
        out.finish()
    finally:
        out.give_up()
    return TransferReport(copied=copied, messages=messages, failed=failed)


def _sessions(
    store: SessionStore, user_id: str | None, agent_id: str | None, failed: list[LeftSession]
) -> Iterator[SessionData]:
    listing = Listing(store, wanted(user_id, agent_id))
    while (session_id := run_transfer(listing.next())) is not None:
        session = _read(store, session_id, failed)
        if session is not None:
            yield session


def _read(store: SessionStore, session_id: str, failed: list[LeftSession]) -> SessionData | None:
    try:
        session = store.get(session_id)  # None: it was deleted meanwhile
        if session is not None:
            require_finished(session)
            for message in session.messages:
                require_opened(message)
    except SessionStoreError as error:
        if ends_all(error):
            raise
        failed.append(LeftSession(session_id, "", str(error)))
        return None
    return session
