"""What a store is asked for, as values: each operation of the contract, and what it gives.

An operation is checked once, when it is made, and says which type its result has.
`SessionStore.run` and `arun` carry any of them out. So it can be kept, sent, counted, batched or
changed as what it is.

Example:
    >>> from sessionstore import InMemorySessionStore, SessionMessage
    >>> from sessionstore.operations import Append, GetMessages
    >>> store = InMemorySessionStore()
    >>> store.run(Append("s1", [SessionMessage("user", "Hello!", id="m1")]))
    1
    >>> [message.id for message in store.run(GetMessages("s1"))]
    ['m1']
"""

from sessionstore.operations.base import Operation, unknown_operation
from sessionstore.operations.erasure import Scrub, Trace
from sessionstore.operations.leases import AcquireLease, Fence, ReleaseLease, RenewLease
from sessionstore.operations.reads import Get, GetMessages, ListSessions, Ping, Setup
from sessionstore.operations.resealing import Reseal, Swaps
from sessionstore.operations.restoring import Restore
from sessionstore.operations.several import OfOneSession, Several, as_several
from sessionstore.operations.writes import (
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fork,
    Prune,
    ReplaceMessage,
    Rewind,
    SessionWrite,
    Update,
)

__all__ = [
    "AcquireLease",
    "Append",
    "Create",
    "Delete",
    "DeleteMessages",
    "Fence",
    "Fork",
    "Get",
    "GetMessages",
    "ListSessions",
    "OfOneSession",
    "Operation",
    "Ping",
    "Prune",
    "ReleaseLease",
    "RenewLease",
    "ReplaceMessage",
    "Reseal",
    "Restore",
    "Rewind",
    "Scrub",
    "SessionWrite",
    "Setup",
    "Several",
    "Swaps",
    "Trace",
    "Update",
    "as_several",
    "unknown_operation",
]
