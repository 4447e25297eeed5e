"""What the system refuses a process: open files, and space for what it writes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

from sessionstore.errors import SessionStoreError
from sessionstore.models import SessionData
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite
from sessionstore.testing.processes import in_a_process
from sessionstore.testing.samples import conversation, said

resource: Any = import_module("resource") if find_spec("resource") else None

__all__ = ["ScarcityContract"]

LIMITS = ("RLIMIT_NOFILE", "RLIMIT_FSIZE")

CALLS: dict[str, Callable[[SessionStore], object]] = {
    "get": lambda store: store.get("s"),
    "get_messages": lambda store: store.get_messages("s", limit=2),
    "list_sessions": lambda store: store.list_sessions(),
    "create": lambda store: store.create(metadata={"a": 1}),
    "append_messages": lambda store: store.append_messages("s", conversation(5)),
    "replace_message": lambda store: store.replace_message("s", said("better", "m0")),
    "delete_messages": lambda store: store.delete_messages("s", ["m1"]),
    "update": lambda store: store.update("s", messages=conversation(2), metadata={"a": 1}),
    "delete": lambda store: store.delete("s"),
    "prune_expired": lambda store: store.prune_expired(),
    "ping": lambda store: store.ping(),
}


class ScarcityContract(StoreSuite):
    """What the backend's driver or the system raises becomes a `SessionStoreError`."""

    @pytest.mark.skipif(resource is None, reason="Windows limits no process so")
    def test_refusals_of_the_system_are_store_errors(self, open_store: OpenStore) -> None:
        """Without one more open file, or a byte more in one, a call works or raises such one."""
        raw = in_a_process(_without_each, open_store)
        assert raw == [], "an error of the system reaches the caller"


def _without_each(open_store: OpenStore) -> list[str]:
    """Make each call once with all that it needs, then without; give what it raises then."""
    raw: list[str] = []
    for mode in ("sync", "async"):
        with Stores(open_store, mode) as stores:
            store = stores.open()
            for call in CALLS.values():
                _state(store)
                call(store)
            for limit in LIMITS:
                raw += [f"{mode} {error}" for error in _without(store, limit)]
    return raw


def _without(store: SessionStore, limit: str) -> Iterator[str]:
    for name, call in CALLS.items():
        before = _state(store)
        with _limited(limit):
            error = _error_of(call, store)
        if error is not None:
            assert _state(store) == before, f"{name} raised, but wrote"
            if not isinstance(error, SessionStoreError):
                yield f"{name} without {limit}: {error!r}"


def _state(store: SessionStore) -> tuple[SessionData, list[str]]:
    """Give all that is there; the session ``s`` is made again where a call has changed it."""
    session = store.get("s")
    if session is None or session.version != 1:
        store.delete("s")
        session = store.create("s", messages=conversation(3))
    return session, [info.id for info in store.list_sessions().sessions]


def _error_of(call: Callable[[SessionStore], object], store: SessionStore) -> Exception | None:
    try:
        call(store)
    except Exception as error:  # noqa: BLE001 - which one it is, is what is asked
        return error
    return None


@contextmanager
def _limited(name: str) -> Iterator[None]:
    limit = getattr(resource, name)
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (_next_file() if name == "RLIMIT_NOFILE" else 0, hard))
    try:
        yield
    finally:
        resource.setrlimit(limit, (soft, hard))


def _next_file() -> int:
    """Give the number that the next open file would have: all below it are open."""
    number = os.dup(0)
    os.close(number)
    return number
