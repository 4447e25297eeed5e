"""A store as somebody else would write it: all sessions in one JSON file.

The conformance suite is run on it, and on copies of it that are each wrong in one way.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from sessionstore import (
    CorruptMessageError,
    InvalidMessageError,
    InvalidSessionError,
    SessionData,
    SessionExistsError,
    SessionInfo,
    SessionMessage,
    SessionNotFoundError,
    SessionPage,
    SessionStore,
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore.arguments import require_version
from sessionstore.leases import leased_error, require_lease
from sessionstore.models import (
    SYSTEM_ROLES,
    decode_messages,
    decode_metadata,
    encode_message,
    encode_metadata,
    from_microseconds,
    merge_metadata,
    retention_microseconds,
)
from sessionstore.operations import (
    AcquireLease,
    Append,
    Create,
    Delete,
    DeleteMessages,
    Fence,
    Fork,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    Ping,
    Prune,
    ReleaseLease,
    RenewLease,
    ReplaceMessage,
    Reseal,
    Restore,
    Rewind,
    Scrub,
    Setup,
    Several,
    Trace,
    Update,
    as_several,
)
from sessionstore.ownership import require_owner
from sessionstore.runner import counted

T = TypeVar("T")
Session = dict[str, Any]


class File(dict[str, Session]):
    """What is in the file: the live sessions, those that have expired, and the leases."""

    def __init__(self, content: dict[str, Any], oldest: float) -> None:
        sessions = content.get("sessions", {})
        live = {key: session for key, session in sessions.items() if session["updated"] >= oldest}
        super().__init__(live)
        self.oldest = oldest
        self.expired = {key: sessions[key] for key in sessions.keys() - live.keys()}
        self.leases: dict[str, dict[str, Any]] = content.get("leases", {})

    def text(self) -> str:
        return json.dumps({"sessions": {**self.expired, **self}, "leases": self.leases})


class JsonFileStore(SessionStore):
    """Sessions in a JSON file. An operation is a function of the file's content.

    What was acknowledged outlives the process, and if ``durable`` a power cut.
    """

    def __init__(
        self, path: Path, *, retention_days: float | None = None, durable: bool = True
    ) -> None:
        self._path = path
        self._durable = durable
        self._retention = retention_microseconds(retention_days)
        self._closed = False

    def close(self) -> None:
        self._closed = True

    @counted
    def run(self, operation: Any) -> Any:
        if type(operation) not in FUNCTIONS:
            operation = as_several("JsonFileStore", operation)
        return self._do(lambda file: FUNCTIONS[type(operation)](file, operation))

    async def arun(self, operation: Any) -> Any:
        # A thread can't be cancelled: a caller who is comes back when it is done.
        work = asyncio.ensure_future(asyncio.to_thread(self.run, operation))
        cancelled = False
        while not work.done():
            try:
                await asyncio.wait([work])
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError
        return work.result()

    def _do(self, work: Callable[[File], T]) -> T:
        self._refuse_closed()
        try:
            with self._locked():
                return self._change(work)
        except OSError as error:
            raise StoreUnavailableError(f"the file can't be used: {error.strerror}") from error

    def _refuse_closed(self) -> None:
        if self._closed:
            raise SessionStoreError("this store is closed: make another one")

    def _change(self, work: Callable[[File], T]) -> T:
        file = self._load()
        before = file.text()
        result = work(file)
        if (after := file.text()) != before:
            self._save(after)
        return result

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with open(f"{self._path}.lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load(self) -> File:
        oldest = time.time_ns() // 1000 - (self._retention or math.inf)
        if not self._path.exists():
            return File({}, oldest)
        content = None
        with suppress(ValueError):  # it may quote what users wrote
            content = json.loads(self._path.read_text())
        if content is None:
            raise CorruptMessageError("the file is damaged")
        return File(content, oldest)

    def _save(self, content: str) -> None:
        beside = self._path.with_suffix(".new")
        with open(beside, "w") as file:
            file.write(content)
            file.flush()
            if self._durable:
                os.fsync(file.fileno())
        os.replace(beside, self._path)


def create(file: File, operation: Create) -> SessionData:
    records, metadata = _records(operation.messages), encode_metadata(operation.metadata).decode()
    session_id = str(operation.session_id)
    if session := file.get(session_id):
        require_owner(session["user"], operation.user_id)
        raise SessionExistsError("the id is taken")
    session = _new(file, operation)
    session["messages"], session["metadata"] = records, metadata
    return _data(session_id, _written(file, session_id), None)


def restore(file: File, operation: Restore) -> SessionInfo | None:
    records, metadata = _records(operation.messages), encode_metadata(operation.metadata).decode()
    session_id, expected = operation.session_id, operation.expected_version
    session = _found(file, operation)
    if expected is not None:
        require_version(session["version"] if session else 0, expected)
    elif session:
        raise SessionExistsError("the id is taken")
    if operation.updated_at < file.oldest:
        return None
    session = session or _new(file, operation)
    for key, body in records.items():
        session["messages"].setdefault(key, body)
    session["metadata"] = metadata
    session.setdefault("created", operation.created_at)
    session["updated"], session["version"] = operation.updated_at, session.get("version", 0) + 1
    return SessionInfo(**_head(session_id, session))


def reseal(file: File, operation: Reseal) -> int:
    swaps = operation.swaps()
    if not (session := _found(file, operation)):
        return 0
    held = session["messages"]
    records = swaps.of_messages([(key, held[key]) for key in swaps.messages if key in held])
    held.update({key: body.decode() for key, body in records})
    metadata, count = swaps.of_metadata(session["metadata"])
    if metadata is not None:
        session["metadata"] = metadata.decode()
    return len(records) + count


def get(file: File, operation: Get) -> SessionData | None:
    session = _found(file, operation)
    if session is None:
        return None
    data = _data(operation.session_id, session, operation.limit)
    if operation.keep_system and len(data.messages) < data.message_count:
        [first] = decode_messages(operation.session_id, [*session["messages"].values()][:1])
        if first.role in SYSTEM_ROLES:
            data.messages.insert(0, first)
    return data


def get_messages(file: File, operation: GetMessages) -> list[SessionMessage]:
    session, limit = _found(file, operation), operation.limit
    if session is None:
        return []
    places = {held: place for place, held in enumerate(session["messages"])}
    if (named := operation.before or operation.after) and named not in places:
        raise InvalidMessageError("the session has no such message")
    log = decode_messages(operation.session_id, session["messages"].values())
    if operation.after is not None:
        log = log[places[operation.after] + 1 :] if operation.after else log
        return log if limit is None else log[:limit]
    end = places[operation.before] if operation.before else len(log)
    start = 0 if limit is None else max(0, end - limit)
    first = log[:1] if operation.keep_system and start and log[0].role in SYSTEM_ROLES else []
    return first + log[start:end]


def append(file: File, operation: Append) -> int:
    records = _records(operation.messages)
    session = _found(file, operation)
    require_version(session["version"] if session else 0, operation.expected_version)
    held = session["messages"] if session else {}
    fresh = {key: body for key, body in records.items() if key not in held}
    if fresh:
        session = session or _new(file, operation)
        session["messages"].update(fresh)
        _written(file, operation.session_id)
    return len(fresh)


def replace_message(file: File, operation: ReplaceMessage) -> None:
    records = _records([operation.message])
    session = _required(file, operation)
    if operation.message.id not in session["messages"]:
        raise SessionNotFoundError("the session has no such message")
    session["messages"].update(records)
    _written(file, operation.session_id)


def delete_messages(file: File, operation: DeleteMessages) -> list[str]:
    session = _found(file, operation)
    require_version(session["version"] if session else 0, operation.expected_version)
    gone = set(operation.message_ids)
    deleted = [held for held in session["messages"] if held in gone] if session else []
    for held in deleted:
        del file[operation.session_id]["messages"][held]
    if deleted:
        _written(file, operation.session_id)
    return deleted


def rewind(file: File, operation: Rewind) -> list[str]:
    session, to = _found(file, operation), operation.to
    require_version(session["version"] if session else 0, operation.expected_version)
    if session is None:
        return operation.without_session()
    held = list(session["messages"])
    if to is not None and to not in held:
        raise SessionNotFoundError("the session has no such message")
    gone = held if to is None else held[held.index(to) + 1 :]
    for name in gone:
        del session["messages"][name]
    if gone:
        _written(file, operation.session_id)
    return gone


def update(file: File, operation: Update) -> SessionInfo:
    records = None if operation.messages is None else _records(operation.messages)
    if operation.metadata is not None:
        encode_metadata(operation.metadata)
    session = _required(file, operation)
    require_version(session["version"], operation.expected_version)
    if records is not None:
        session["messages"] = records
    if operation.metadata is not None:
        merged = merge_metadata(decode_metadata(session["metadata"]), operation.metadata)
        session["metadata"] = encode_metadata(merged).decode()
    if records is None:
        session["version"] += 1  # metadata alone leaves it where it is in lists
    else:
        _written(file, operation.session_id)
    return SessionInfo(**_head(operation.session_id, session))


def delete(file: File, operation: Delete) -> bool:
    _found(file, operation)
    return file.pop(operation.session_id, None) is not None


def list_sessions(file: File, operation: ListSessions) -> SessionPage:
    below, limit = _place(operation.cursor), operation.limit
    if operation.until is not None:
        below = min(below, (operation.until, ""))
    found = [
        (session["updated"], key)
        for key, session in file.items()
        if (operation.agent_id is None or session["agent"] == operation.agent_id)
        and (operation.user_id is None or session["user"] == operation.user_id)
        and operation.since <= session["updated"]
        and (session["updated"], key) < below
    ]
    page = sorted(found, reverse=True)[:limit]
    more = json.dumps(page[-1]) if len(found) > limit else None
    return SessionPage([_info(key, file[key], operation.last) for _, key in page], more)


def prune(file: File, _: Prune) -> int:
    count = len(file.expired)
    file.expired = {}
    return count


def ping(_: File, __: Ping) -> None:
    """Have the file opened, and read: that is what `_do` does for all."""


def fork(file: File, operation: Fork) -> SessionInfo:
    if operation.metadata is not None:
        encode_metadata(operation.metadata)
    source, new_id = _required(file, operation), str(operation.new_session_id)
    held, at = list(source["messages"]), operation.at
    if at is not None and at not in held:
        raise SessionNotFoundError("the session has no such message")
    copied = held if at is None else held[: held.index(at) + 1]
    if session := file.get(new_id):
        require_owner(session["user"], operation.user_id)
        raise SessionExistsError("the id is taken")
    old = decode_metadata(source["metadata"])
    metadata = operation.new_metadata(old, copied[-1] if copied else None)
    file[new_id] = {
        **{name: source[name] for name in ("agent", "user")},
        "messages": {key: source["messages"][key] for key in copied},
        "metadata": encode_metadata(metadata).decode(),
    }
    return SessionInfo(**_head(new_id, _written(file, new_id)))


def acquire_lease(file: File, operation: AcquireLease) -> int:
    _found(file, operation)
    now, name = time.time_ns() // 1000, operation.session_id
    lease = file.leases.get(name, {"token": 0, "ends": 0})
    is_held = lease["ends"] > now
    if not (is_held and lease["holder"] == operation.holder):
        if is_held and not operation.take_over:
            raise leased_error((lease["ends"] - now) / 1e6)
        lease = {"token": max(now, lease["token"] + 1), "holder": operation.holder}
    file.leases[name] = {**lease, "ends": now + round(operation.seconds * 1e6)}
    return int(lease["token"])


def renew_lease(file: File, operation: RenewLease) -> None:
    _found(file, operation)
    fence(file, operation)
    ends = time.time_ns() // 1000 + round(operation.seconds * 1e6)
    file.leases[operation.session_id]["ends"] = ends


def release_lease(file: File, operation: ReleaseLease) -> bool:
    lease = _held(file, operation)
    if lease is None or lease["holder"] != operation.holder:
        return False
    lease["ends"] = 0  # its token stays
    return True


def fence(file: File, operation: Fence | RenewLease) -> None:
    lease = _held(file, operation)
    require_lease(lease is not None and lease["token"] == operation.token)


def scrub(file: File, operation: Scrub) -> list[Trace]:
    """Erase what no list shows: the file is written anew in any case."""
    users = {key: session["user"] for key, session in file.expired.items()}
    theirs = [key for key, user in users.items() if user == operation.user_id is not None]
    for key in theirs:
        del file.expired[key]
    leases = sum(file.leases.pop(name, None) is not None for name in operation.session_ids)
    where = "JsonFileStore"
    return [Trace(where, "unlisted sessions", len(theirs)), Trace(where, "leases", leases)]


def several(file: File, operation: Several) -> list[Any]:
    return [FUNCTIONS[type(part)](file, part) for part in operation.operations]


FUNCTIONS: dict[type[Operation[Any]], Callable[[File, Any], Any]] = {
    Create: create,
    Restore: restore,
    Reseal: reseal,
    Get: get,
    GetMessages: get_messages,
    Append: append,
    ReplaceMessage: replace_message,
    DeleteMessages: delete_messages,
    Rewind: rewind,
    Update: update,
    Delete: delete,
    Fork: fork,
    AcquireLease: acquire_lease,
    RenewLease: renew_lease,
    ReleaseLease: release_lease,
    Fence: fence,
    Several: several,
    ListSessions: list_sessions,
    Prune: prune,
    Scrub: scrub,
    Ping: ping,
    Setup: ping,
}


def _records(messages: Sequence[SessionMessage]) -> dict[str, str]:
    return {str(message.id): encode_message(message).decode() for message in messages}


def _place(cursor: str | None) -> tuple[float, str]:
    """Give the time and the id of the last session before a page."""
    try:
        updated, key = (math.inf, "") if cursor is None else json.loads(cursor)
        return float(updated), str(key)
    except (ValueError, TypeError):
        raise InvalidSessionError("cursor is not one that list_sessions gave") from None


def _new(file: File, operation: Create | Append) -> Session:
    agent, user = operation.agent_id, operation.user_id
    session: Session = {"agent": agent, "user": user, "messages": {}, "metadata": "{}"}
    file[str(operation.session_id)] = session
    return session


def _found(file: File, operation: Any) -> Session | None:
    """Give the session that an operation is about, if its caller may see it."""
    if session := file.get(operation.session_id):
        require_owner(session["user"], operation.user_id)
    return session


def _held(file: File, operation: Any) -> dict[str, Any] | None:
    """Give the lease of a session, if anybody has it."""
    lease = file.leases.get(operation.session_id)
    return lease if lease and lease["ends"] > time.time_ns() // 1000 else None


def _required(file: File, operation: Any) -> Session:
    session = _found(file, operation)
    if session is None:
        raise SessionNotFoundError("there is no such session")
    return session


def _written(file: File, session_id: str) -> Session:
    """Count a write: no two have one time, so that it orders the lists."""
    session = file[session_id]
    newest = max((other.get("updated", 0) for other in file.values()), default=0)
    session["updated"] = max(time.time_ns() // 1000, newest + 1)
    session.setdefault("created", session["updated"])
    session["version"] = session.get("version", 0) + 1
    return session


def _head(session_id: str, session: Session) -> dict[str, Any]:
    return {
        "id": session_id,
        "agent_id": session["agent"],
        "user_id": session["user"],
        "metadata": decode_metadata(session["metadata"]),
        "created_at": from_microseconds(session["created"]),
        "updated_at": from_microseconds(session["updated"]),
        "version": session["version"],
        "message_count": len(session["messages"]),
    }


def _info(session_id: str, session: Session, last: int) -> SessionInfo:
    bodies = list(session["messages"].values())[-last:] if last else []
    return SessionInfo(**_head(session_id, session), messages=decode_messages(session_id, bodies))


def _data(session_id: str, session: Session, limit: int | None) -> SessionData:
    bodies = list(session["messages"].values())
    last = bodies if limit is None else bodies[max(0, len(bodies) - limit) :]
    return SessionData(**_head(session_id, session), messages=decode_messages(session_id, last))
