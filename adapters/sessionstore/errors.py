"""The errors of every store: one small tree, whatever the backend."""

__all__ = [
    "CorruptMessageError",
    "DecryptionError",
    "InvalidMessageError",
    "InvalidSessionError",
    "InvalidTypeError",
    "OutageError",
    "SessionAccessError",
    "SessionConflictError",
    "SessionExistsError",
    "SessionLeasedError",
    "SessionNotFoundError",
    "SessionStoreError",
    "StoreBusyError",
    "StoreConnectionError",
    "StoreReadOnlyError",
    "StoreTimeoutError",
    "StoreUnavailableError",
]


class SessionStoreError(Exception):
    """The base of every error that a store raises.

    A driver's own error is never raised: it is the ``__cause__`` of one of these. No error of
    this tree holds a password, a key, or what a user wrote.
    """


class StoreUnavailableError(SessionStoreError):
    """The backend can't do it now: try again. Those below it say why.

    Nothing half done is left behind. Whether a write whose answer was lost took effect can't be
    known from here; since appending is idempotent by message id, it is safe to send messages that
    have an id again.
    """


class StoreConnectionError(StoreUnavailableError):
    """The backend can't be reached, closed the connection, or is starting or stopping."""


class StoreReadOnlyError(StoreConnectionError):
    """The backend answers, but takes no writes from anybody: a replica, or out of memory."""


class StoreTimeoutError(StoreUnavailableError):
    """The backend gave no answer in time.

    Attributes:
        batch: What stands for the operations that shared a request or a connection with this one:
            one late answer is why all of them are late. ``None`` where it was alone.
    """

    batch: object | None = None


class StoreBusyError(StoreUnavailableError):
    """The backend answers, but a lock, a conflict, a full pool or a limit prevents the call."""


class OutageError(StoreUnavailableError):
    """A promise that a fallback can't keep while its primary is away: ``expected_version``, say.

    Without that promise, the same call is answered.
    """


class SessionExistsError(SessionStoreError):
    """``create``, ``fork`` or `Restore` was given the id of a session that is already there."""


class SessionNotFoundError(SessionStoreError):
    """A session, or a message in it, was to be changed, forked or rewound to, and is not there."""


class SessionConflictError(SessionStoreError):
    """The session is at another version than the ``expected_version``; nothing was written."""


class SessionAccessError(SessionStoreError):
    """The session belongs to another user; nothing was read or written."""


class SessionLeasedError(SessionStoreError):
    """Another holds the session's lease, or the caller's own was lost; nothing was written.

    Attributes:
        seconds_left: How long the other's lease lasts yet, unless it is renewed; ``None`` where the
            caller's own was lost.
    """

    seconds_left: float | None = None


class InvalidSessionError(SessionStoreError, ValueError):
    """An argument other than a message is not valid: an id, metadata, a limit, a cursor, a version.

    Nothing was written.
    """


class InvalidTypeError(InvalidSessionError, TypeError):
    """An argument other than a message has the wrong type, such as a limit that is a string."""


class InvalidMessageError(SessionStoreError, ValueError):
    """A message can't be stored as it is, or can't be named so; nothing was written."""


class CorruptMessageError(SessionStoreError):
    """What is stored for a session can't be read by this version of the package."""


class DecryptionError(SessionStoreError):
    """What is stored encrypted can't be opened, or what should be encrypted is not.

    The key is missing or another one, or the record was changed, or moved from where it belongs.

    Attributes:
        key_id: The id of the key that it was sealed with; ``None`` where none is told.
    """

    key_id: str | None = None
