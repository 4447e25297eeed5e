"""The threads of a LangGraph checkpointer that are a user's: found, and deleted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from sessionstore.operations import Trace
from sessionstore.transfer.twins import Listed, Method, TwinFlow

__all__ = ["UserThreads", "checked_checkpointer"]

_logger = logging.getLogger("sessionstore")

_AWAY = "it does without its primary: run it again when that is back"
_ANOTHERS = "they are named like sessions of this user, and another user's: look at them"
_ASYNC = "it is only async: use aerase_user"
_KEPT = "what its database keeps of what is deleted"
_UNTIL = "the database has its own upkeep, such as VACUUM"


def checked_checkpointer(given: Any) -> Any:
    """Refuse what is no checkpointer of LangGraph's.

    Raises:
        TypeError: It lacks a method that is needed.
    """
    if given is not None and not (hasattr(given, "list") and hasattr(given, "delete_thread")):
        kind = type(given).__name__
        raise TypeError(f"checkpointer must be a LangGraph checkpointer, not {kind}")
    return given


class UserThreads:
    """The threads of one user: those that their metadata say, and those named like sessions.

    Args:
        checkpointer: The checkpointer; ``None`` for none, which has no threads.
        user_id: Whose.

    Attributes:
        deleted: The threads that were deleted.
        traces: What could not be done.
    """

    def __init__(self, checkpointer: Any, user_id: str) -> None:
        self._checkpointer = checkpointer
        self._user_id = user_id
        self._seen: set[str] = set()
        self._others = 0
        self.name: str = "" if checkpointer is None else type(checkpointer).__name__
        self.deleted: list[str] = []
        self.traces: list[Trace] = []

    def erase_found(self) -> TwinFlow[None]:
        """Delete the threads whose checkpoints' metadata names the user."""
        yield from self._erase((yield from self.found()))

    def erase_named(self, session_ids: Iterable[str]) -> TwinFlow[None]:
        """Delete the threads that are named like some sessions, unless they are another user's."""
        named: dict[str, bool] = {}
        for session_id in session_ids:
            named[session_id] = yield from self.is_named(session_id)
        yield from self._erase([session_id for session_id in named if named[session_id]])

    def found(self) -> TwinFlow[list[str]]:
        """Give the threads whose checkpoints' metadata names the user."""
        threads: dict[str, None] = {}
        if self._checkpointer is not None:
            with self.noting():
                named = {"user_id": self._user_id}
                of_user = yield Listed(self._checkpointer, None, named, _thread_and_user)
                threads = {thread: None for thread, user in of_user if user == self._user_id}
        return list(threads)

    def is_named(self, thread_id: str) -> TwinFlow[bool]:
        """Tell whether there is a thread of a session's name that was not looked at yet."""
        if self._checkpointer is None or thread_id in self._seen:
            return False
        self._seen.add(thread_id)
        config = {"configurable": {"thread_id": thread_id}}
        with self.noting():
            # Of all its checkpoints: a later run may have named nobody.
            found = yield Listed(self._checkpointer, config, None, _thread_and_user)
            others = [user for _, user in found if user not in (None, self._user_id)]
            self._others += bool(others)
            return bool(found) and not others
        return False

    def finish(self, *, rewrite: bool) -> TwinFlow[None]:
        """Erase what the checkpointer's own fallback keeps of them, where it has one."""
        if self._checkpointer is None:
            return
        self.tell_others()
        if getattr(self._checkpointer, "is_degraded", bool)():
            self._left("threads", 1, _AWAY)
        traces = yield from self._scrubbed(self.deleted, rewrite=rewrite)
        self.traces += [trace for trace in traces if trace.left or trace.until or trace.erased]
        self.traces.append(Trace(self.name, _KEPT, until=_UNTIL))

    def tell_others(self) -> None:
        """Tell of threads that have the name of a session of the user's, and are another's."""
        if self._others:
            self._left("threads", self._others, _ANOTHERS)

    def _erase(self, thread_ids: list[str]) -> TwinFlow[None]:
        """Delete some threads, and before that what is found by their names alone."""
        if thread_ids:
            traces = yield from self._scrubbed(thread_ids, rewrite=False)
            self.traces += [replace(trace, left=0) for trace in traces if trace.erased]
        for thread_id in thread_ids:
            with self.noting():
                yield Method(self._checkpointer, "delete_thread", (thread_id,))
                self._seen.add(thread_id)
                self.deleted.append(thread_id)

    def _scrubbed(self, thread_ids: list[str], *, rewrite: bool) -> TwinFlow[list[Trace]]:
        traces: list[Trace] = []
        if hasattr(self._checkpointer, "scrub"):
            with self.noting():
                traces = yield Method(
                    self._checkpointer, "scrub", (thread_ids,), {"rewrite": rewrite}
                )
        return traces

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Note what the checkpointer raises: of whichever driver, it must not end the erasure."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            _logger.warning("a thread could not be read or erased: %s", type(error).__name__)
            is_async = isinstance(error, NotImplementedError)
            self._left(
                "threads", 1, _ASYNC if is_async else f"{type(error).__name__}: run it again"
            )

    def _left(self, what: str, count: int, why: str) -> None:
        if not any(trace.why == why for trace in self.traces):
            self.traces.append(Trace(self.name, what, left=count, why=why))


def _thread_and_user(checkpoint: Any) -> tuple[str, Any]:
    metadata = checkpoint.metadata or {}
    return checkpoint.config["configurable"]["thread_id"], metadata.get("user_id")
