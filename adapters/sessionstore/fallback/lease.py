"""Whose a journal is: it is kept from others by a lease, and taken over by a claim."""

from __future__ import annotations

from sessionstore.errors import OutageError, SessionConflictError, SessionNotFoundError
from sessionstore.fallback.journal_form import (
    ADOPTED_BY,
    JOURNALS,
    RENEWAL,
    owner_of,
    renewal_entry,
)
from sessionstore.fallback.queue import PendingQueue, QueueState
from sessionstore.fallback.requests import FallbackFlow, ask
from sessionstore.operations import Append, DeleteMessages, Get, Several, Update
from sessionstore.store import SessionStore

__all__ = ["claim", "renew"]


def renew(store: SessionStore, owner: str, queue: PendingQueue) -> FallbackFlow[bool]:
    """Keep others from taking a queue's journals over for a while.

    Returns:
        Whether all of them are still ours.

    Raises:
        SessionStoreError: The fallback store fails.
    """
    begun = queue.state is QueueState.BEGUN
    for journal in queue.journals if begun else queue.journals[:-1]:
        if not (yield from _renew(store, owner, queue, journal)):
            return False
    return True


def _renew(
    store: SessionStore, owner: str, queue: PendingQueue, journal: str
) -> FallbackFlow[bool]:
    while not queue.is_leased:  # else another has renewed it meanwhile
        there = yield from ask(store, Get(journal, 0))
        if there is None or owner_of(there) != owner:
            return False
        try:
            if (yield from claim(store, owner, journal, there.version)) is not None:
                return True
        except OutageError:
            return True  # it is away itself, and holds expected_version back: nobody can
    return True


def claim(store: SessionStore, owner: str, journal: str, version: int) -> FallbackFlow[int | None]:
    """Own a journal from now on, unless it is not any more as it was found.

    That is an entry, too, and not metadata alone: this would not move the journal's time, by which
    others tell that its owner is there, and by which the store tells what has expired.

    Args:
        store: The fallback store.
        owner: The name of who is to own it.
        journal: Its id.
        version: The version at which it was found.

    Returns:
        How many entries it has, where it is owned now; ``None`` where it is not.
    """
    owned = Update(journal, metadata={ADOPTED_BY: owner}, expected_version=version)
    # In the place of the last one: a journal must not grow while it waits.
    outdated = DeleteMessages(journal, [RENEWAL])
    renewed = Append(journal, [renewal_entry()], JOURNALS)
    try:
        info, deleted, added = yield from ask(store, Several([owned, outdated, renewed]))
    except (SessionConflictError, SessionNotFoundError):
        return None
    return int(info.message_count - len(deleted) + added)
