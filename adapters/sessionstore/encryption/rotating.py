"""Keys are rotated: what is stored under another key than the first is sealed anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from sessionstore.encryption.keys import Keyring, Keys
from sessionstore.encryption.records import (
    key_of,
    opened_message,
    opened_value,
    sealed_message,
    sealed_metadata,
)
from sessionstore.errors import (
    CorruptMessageError,
    DecryptionError,
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    SessionStoreError,
)
from sessionstore.models import SessionData, SessionMessage
from sessionstore.operations import Get, GetMessages, Reseal
from sessionstore.store import SessionStore
from sessionstore.transfer.answering import ChangedError, outages, require_primary
from sessionstore.transfer.listing import Listing, wanted
from sessionstore.transfer.moving import TRIES, ends_all
from sessionstore.transfer.reports import LeftSession, OnProgress, TransferProgress
from sessionstore.transfer.requests import TransferFlow, ask

__all__ = ["Rotation", "RotationReport"]

_FIRST_PAGE = 100
_BYTES = 2**22  # of records that are swapped in one step, about
_BUSY = "it was written to all the time: run this again"


class RotationReport(msgspec.Struct, frozen=True):
    """What became of the sessions of a rotation.

    Attributes:
        sessions: How many were gone through.
        messages: How many messages were sealed anew.
        values: How many values of metadata were.
        left: The sessions in which something could not be opened: all else in them was sealed anew.
            And those that could not be read, or not be written, to their end.
        missing_keys: The ids of the keys that would open what is left, as far as records tell.
        pending: How many writes wait in this process for a fallback's primary: they may be under
            another key. Run it again when they are replayed.
    """

    sessions: int = 0
    messages: int = 0
    values: int = 0
    left: list[LeftSession] = []
    missing_keys: list[str] = []
    pending: int = 0

    @property
    def complete(self) -> bool:
        """Whether all was opened, and is under the first key, so that the others can go."""
        return not (self.left or self.pending)


class _Pairs(NamedTuple):
    old: list[Any]
    new: list[Any]


class Rotation:
    """One rotation, and what it has come to so far.

    Args:
        store: The store that holds what is sealed.
        keys: The keys.
        allow_plain: Seal what is not encrypted, too.
        user_id: Only the sessions of this user; ``None`` for all.
        batch: How many messages are read in one step at most.
        progress: Whom to tell.

    Raises:
        InvalidSessionError: ``batch`` is not 1 or more, or ``user_id`` is not valid.
        InvalidTypeError: ``batch`` is not a whole number.
    """

    def __init__(
        self,
        store: SessionStore,
        keys: Keys,
        *,
        allow_plain: bool,
        user_id: str | None,
        batch: int,
        progress: OnProgress | None,
    ) -> None:
        if type(batch) is not int:
            raise InvalidTypeError(f"batch must be a whole number, not {type(batch).__name__}")
        if batch < 1:
            raise InvalidSessionError("batch must be 1 or more messages")
        self._store, self._keys, self._allow_plain = store, keys, allow_plain
        self._listing = Listing(store, wanted(user_id, None))
        self._batch, self._progress = batch, progress
        self._done: Counter[str] = Counter()
        self._left: list[LeftSession] = []
        self._missing: set[str] = set()
        self._refused: dict[str, str] = {}  # of the session that it is at, by what it is

    def carried_out(self) -> TransferFlow[RotationReport]:
        """Go through the sessions, and tell."""
        while (session_id := (yield from self._listing.next())) is not None:
            self._refused = {}
            try:
                yield from self._session(session_id)
            except SessionStoreError as error:
                if ends_all(error):
                    raise
                self._refuse("", error)
            self._end(session_id)
        return RotationReport(
            sessions=self._done["sessions"],
            messages=self._done["messages"],
            values=self._done["values"],
            left=self._left,
            missing_keys=sorted(self._missing),
            pending=self._store.stats().pending,
        )

    def _end(self, session_id: str) -> None:
        self._done["sessions"] += 1
        if self._refused:
            count, why = len(self._refused), next(iter(self._refused.values()))
            self._left.append(LeftSession(session_id, "", f"{count} left: {why}"))
        self._tell(session_id)

    def _tell(self, session_id: str) -> None:
        if self._progress is not None:
            counts = self._done["sessions"], self._done["messages"]
            self._progress(TransferProgress(*counts, session_id))

    # -- One session ------------------------------------------------------------------------------

    def _session(self, session_id: str) -> TransferFlow[None]:
        for _ in range(TRIES):
            self._refused, before = {}, outages(self._store)
            try:
                is_done = yield from self._all_of(session_id)
                require_primary(self._store, session_id, before)
            except ChangedError as error:
                self._refused[""] = str(error)
            else:
                if is_done:
                    return
                self._refused[""] = _BUSY

    def _all_of(self, session_id: str) -> TransferFlow[bool]:
        """Seal a session anew; tell whether all of it, and nobody else has written meanwhile."""
        head = yield from ask(self._store, Get(session_id, 0))
        if head is None:
            return True
        ring = self._keys.of(head.user_id)
        is_done = yield from self._metadata(head, ring)
        return (yield from self._messages(session_id, ring)) and is_done

    def _metadata(self, head: SessionData, ring: Keyring) -> TransferFlow[bool]:
        """Seal the metadata anew; tell whether nobody else has written to it meanwhile."""
        new = dict(self._values(head, ring))
        if not new:
            return True
        old = {name: head.metadata[name] for name in new}
        asked = Reseal(head.id, old_metadata=old, new_metadata=new)
        swapped = yield from ask(self._store, asked)
        self._done["values"] += swapped
        return swapped == len(new)

    def _values(self, head: SessionData, ring: Keyring) -> Iterator[Any]:
        plain = self._allow_plain
        for name, value in head.metadata.items():
            try:
                opened = opened_value(name, value, head.id, ring, allow_plain=plain)
                if key_of(value) != ring.first.id:
                    yield name, sealed_metadata({name: opened}, head.id, ring)[name]
            except (DecryptionError, CorruptMessageError) as error:
                self._refuse(f"metadata {name}", error)

    def _messages(self, session_id: str, ring: Keyring) -> TransferFlow[bool]:
        """Go through a session from its end; tell whether to its beginning, and nobody else wrote.

        Only what is new moves to the end: so none is passed over where the message that it is at is
        deleted and appended again. What others have replaced meanwhile may be under an old key:
        they may not have the new one.
        """
        before, limit, is_done = None, min(_FIRST_PAGE, self._batch), True
        while True:
            try:
                page = yield from ask(self._store, GetMessages(session_id, limit, before))
            except InvalidMessageError:  # the message that it was at is gone
                return False
            is_done &= yield from self._page(session_id, page, ring)
            if len(page) < limit:
                return is_done
            before = str(page[0].id)
            limit = max(1, min(2 * limit, self._batch, limit * _BYTES // (1 + _size(page))))
            self._tell(session_id)

    def _page(
        self, session_id: str, page: list[SessionMessage], ring: Keyring
    ) -> TransferFlow[bool]:
        is_done = True
        for old, new in _bounded(self._resealed(session_id, page, ring)):
            swapped = yield from ask(self._store, Reseal(session_id, old, new))
            self._done["messages"] += swapped
            is_done &= swapped == len(new)
        return is_done

    def _resealed(
        self, session_id: str, page: list[SessionMessage], ring: Keyring
    ) -> Iterator[tuple[SessionMessage, SessionMessage]]:
        for old in page:
            try:
                opened = opened_message(old, session_id, ring, allow_plain=self._allow_plain)
                if key_of(old.extra) != ring.first.id:
                    yield old, sealed_message(opened, session_id, ring)
            except (DecryptionError, CorruptMessageError) as error:
                self._refuse(f"message {old.id}", error)

    def _refuse(self, what: str, error: SessionStoreError) -> None:
        self._refused[what] = str(error)
        key_id = getattr(error, "key_id", None)
        if key_id is not None:
            self._missing.add(key_id)


def _bounded(pairs: Iterator[tuple[SessionMessage, SessionMessage]]) -> Iterator[_Pairs]:
    """Give pairs in steps of a size that any store takes at once."""
    step, size = _Pairs([], []), 0
    for old, new in pairs:
        step.old.append(old)
        step.new.append(new)
        size += _size([new])
        if size > _BYTES:
            yield step
            step, size = _Pairs([], []), 0
    if step.old:
        yield step


def _size(page: list[SessionMessage]) -> int:
    """Give how long some messages are, about; those that are not sealed yet have more in them."""
    parts = [part for m in page for part in (m.content, m.tool_calls, m.metadata, m.extra) if part]
    return sum(len(str(part)) for part in parts)
