"""A store as somebody else would write it: all sessions in one JSON file, 150 lines.

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
    SessionStoreError,
    StoreUnavailableError,
)
from sessionstore._flow_store import FlowStore
from sessionstore.arguments import require_owner, require_version
from sessionstore.flow import Flow, play
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

T = TypeVar("T")
Session = dict[str, Any]


class File(dict[str, Session]):
    """What is in the file: the live sessions, and beside them those that have expired."""

    def __init__(self, content: dict[str, Session], oldest: float) -> None:
        live = {key: session for key, session in content.items() if session["updated"] >= oldest}
        super().__init__(live)
        self.expired = {key: content[key] for key in content.keys() - live.keys()}

    def text(self) -> str:
        return json.dumps({**self.expired, **self})


class JsonFileStore(FlowStore):
    """Sessions in a JSON file. A flow yields what is to be done with the file's content.

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

    def _play(self, flow: Flow[T]) -> T:
        return play(flow, self._do)

    async def _aplay(self, flow: Flow[T]) -> T:
        # A thread can't be cancelled: a caller who is comes back when it is done.
        work = asyncio.ensure_future(asyncio.to_thread(self._play, flow))
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

    # -- The operations ---------------------------------------------------------------------------

    def _create(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        metadata: dict[str, Any],
    ) -> Flow[SessionData]:
        records, stored = _records(messages), encode_metadata(metadata).decode()

        def work(file: File) -> SessionData:
            if session := file.get(session_id):
                require_owner(session["user"], user_id)
                raise SessionExistsError("the id is taken")
            session = _new(file, session_id, agent_id, user_id)
            session["messages"], session["metadata"] = records, stored
            return _data(session_id, _written(file, session_id), None)

        return (yield work)

    def _get(
        self, session_id: str, *, limit: int | None, user_id: str | None
    ) -> Flow[SessionData | None]:
        def work(file: File) -> SessionData | None:
            session = _found(file, session_id, user_id)
            return None if session is None else _data(session_id, session, limit)

        return (yield work)

    def _get_messages(
        self,
        session_id: str,
        *,
        limit: int | None,
        before: str | None,
        after: str | None,
        user_id: str | None,
        keep_system: bool,
    ) -> Flow[list[SessionMessage]]:
        def work(file: File) -> list[SessionMessage]:
            session = _found(file, session_id, user_id)
            if session is None:
                return []
            places = {held: place for place, held in enumerate(session["messages"])}
            if (named := before or after) and named not in places:
                raise InvalidMessageError("the session has no such message")
            log = decode_messages(session_id, session["messages"].values())
            if after is not None:
                log = log[places[after] + 1 :] if after else log
                return log if limit is None else log[:limit]
            end = places[before] if before else len(log)
            start = 0 if limit is None else max(0, end - limit)
            first = log[:1] if keep_system and start and log[0].role in SYSTEM_ROLES else []
            return first + log[start:end]

        return (yield work)

    def _append_messages(
        self,
        session_id: str,
        messages: Sequence[SessionMessage],
        *,
        agent_id: str,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[int]:
        records = _records(messages)

        def work(file: File) -> int:
            session = _found(file, session_id, user_id)
            require_version(session["version"] if session else 0, expected_version)
            held = session["messages"] if session else {}
            fresh = {key: body for key, body in records.items() if key not in held}
            if fresh:
                session = session or _new(file, session_id, agent_id, user_id)
                session["messages"].update(fresh)
                _written(file, session_id)
            return len(fresh)

        return (yield work)

    def _replace_message(
        self, session_id: str, message: SessionMessage, *, user_id: str | None
    ) -> Flow[None]:
        records = _records([message])

        def work(file: File) -> None:
            session = _required(file, session_id, user_id)
            if message.id not in session["messages"]:
                raise SessionNotFoundError("the session has no such message")
            session["messages"].update(records)
            _written(file, session_id)

        yield work

    def _delete_messages(
        self,
        session_id: str,
        message_ids: Sequence[str],
        *,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[list[str]]:
        def work(file: File) -> list[str]:
            session = _found(file, session_id, user_id)
            require_version(session["version"] if session else 0, expected_version)
            gone = set(message_ids)
            deleted = [held for held in session["messages"] if held in gone] if session else []
            for held in deleted:
                del file[session_id]["messages"][held]
            if deleted:
                _written(file, session_id)
            return deleted

        return (yield work)

    def _update(
        self,
        session_id: str,
        *,
        messages: Sequence[SessionMessage] | None,
        metadata: dict[str, Any] | None,
        user_id: str | None,
        expected_version: int | None,
    ) -> Flow[SessionInfo]:
        records = None if messages is None else _records(messages)
        if metadata is not None:
            encode_metadata(metadata)

        def work(file: File) -> SessionInfo:
            session = _required(file, session_id, user_id)
            require_version(session["version"], expected_version)
            if records is not None:
                session["messages"] = records
            if metadata is not None:
                merged = merge_metadata(decode_metadata(session["metadata"]), metadata)
                session["metadata"] = encode_metadata(merged).decode()
            return SessionInfo(**_head(session_id, _written(file, session_id)))

        return (yield work)

    def _delete(self, session_id: str, *, user_id: str | None) -> Flow[bool]:
        def work(file: File) -> bool:
            _found(file, session_id, user_id)
            return file.pop(session_id, None) is not None

        return (yield work)

    def _list_sessions(
        self, *, agent_id: str | None, user_id: str | None, limit: int, cursor: str | None
    ) -> Flow[SessionPage]:
        below = _time(cursor)

        def work(file: File) -> SessionPage:
            found = [
                (session["updated"], key)
                for key, session in file.items()
                if (agent_id is None or session["agent"] == agent_id)
                and (user_id is None or session["user"] == user_id)
                and session["updated"] < below
            ]
            page = sorted(found, reverse=True)[:limit]
            more = str(page[-1][0]) if len(found) > limit else None
            return SessionPage([SessionInfo(**_head(key, file[key])) for _, key in page], more)

        return (yield work)

    def _prune_expired(self) -> Flow[int]:
        def work(file: File) -> int:
            count = len(file.expired)
            file.expired = {}
            return count

        return (yield work)

    def _ping(self) -> Flow[None]:
        yield lambda _: None


def _records(messages: Sequence[SessionMessage]) -> dict[str, str]:
    return {str(message.id): encode_message(message).decode() for message in messages}


def _time(cursor: str | None) -> float:
    try:
        return math.inf if cursor is None else int(cursor)
    except ValueError:
        raise InvalidSessionError("cursor is not one that list_sessions gave") from None


def _new(file: File, session_id: str, agent_id: str, user_id: str | None) -> Session:
    file[session_id] = {"agent": agent_id, "user": user_id, "messages": {}, "metadata": "{}"}
    return file[session_id]


def _found(file: File, session_id: str, user_id: str | None) -> Session | None:
    if session := file.get(session_id):
        require_owner(session["user"], user_id)
    return session


def _required(file: File, session_id: str, user_id: str | None) -> Session:
    session = _found(file, session_id, user_id)
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


def _data(session_id: str, session: Session, limit: int | None) -> SessionData:
    bodies = list(session["messages"].values())
    last = bodies if limit is None else bodies[max(0, len(bodies) - limit) :]
    return SessionData(**_head(session_id, session), messages=decode_messages(session_id, last))
