"""Processes that are killed in the midst of a write: guarantee 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeAlias

import pytest

from sessionstore.models import SessionMessage
from sessionstore.store import SessionStore
from sessionstore.testing.halting import SESSION, WRITES, Writers, batch_of, needs_fork, spread
from sessionstore.testing.modes import OpenStore, StoreSuite
from sessionstore.testing.samples import conversation, ids, said, stored

__all__ = ["CrashContract"]

KILLS = 15

Opened: TypeAlias = Callable[[], AbstractContextManager[SessionStore]]


class CrashContract(StoreSuite):
    """A process that dies takes nothing with it but the write that it was in."""

    @needs_fork
    @pytest.mark.parametrize("write", [name for name in WRITES if name != "fork"])
    def test_a_killed_writer_leaves_all_or_nothing(self, open_store: OpenStore, write: str) -> None:
        """At whatever step: its write is there or not, what was acknowledged is, others go on."""
        self.require_support("crash_safety")
        with self._opened(open_store) as opened, Writers(open_store, write=write) as writers:
            with opened() as store:
                store.append_messages("neighbour", conversation(3))
                store.append_messages(SESSION, conversation(3))
            for step in spread(writers.count_steps(), KILLS):
                with opened() as store:
                    before = store.get_messages(SESSION)
                writers.kill(step)
                with opened() as store:
                    assert store.get_messages(SESSION) in (before, _after(before, write, step))
                    assert store.append_message(SESSION, said("next", f"next {step}")) == 1
            with opened() as store:
                last = stored(store, SESSION)
        with open_store() as again:
            assert stored(again, SESSION) == last
            assert ids(again.get_messages("neighbour")) == ["m0", "m1", "m2"]
            assert [info.id for info in again.list_sessions().sessions] == [SESSION, "neighbour"]

    @needs_fork
    def test_a_killed_fork_leaves_all_or_nothing(self, open_store: OpenStore) -> None:
        """At whatever step: it is whole or not there, its id is free then, and others go on."""
        self.require_support("crash_safety")
        log = batch_of(0) + conversation(40)
        with self._opened(open_store) as opened, Writers(open_store, write="fork") as writers:
            with opened() as store:
                store.append_messages(SESSION, log)
            for step in spread(writers.count_steps(), KILLS):
                writers.kill(step)
                with opened() as store:
                    self._require_whole(store, f"fork {step}", log)

    def _require_whole(self, store: SessionStore, fork: str, log: list[SessionMessage]) -> None:
        made = store.get(fork)
        assert made is None or made.messages == log
        assert made is not None or fork not in _listed(store)
        if made is None:
            store.fork(SESSION, fork)
        assert store.append_message(fork, said("next", "next")) == 1
        assert ids(store.get_messages(fork)) == [*ids(log), "next"]
        assert fork in _listed(store)
        assert store.get_messages(SESSION) == log

    @contextmanager
    def _opened(self, open_store: OpenStore) -> Iterator[Opened]:
        """Give one store that lives through it all, where others may write beside it."""
        if not self.supports_processes:
            yield open_store
            return
        with open_store() as store:
            yield lambda: nullcontext(store)


def _after(before: list[SessionMessage], write: str, step: int) -> list[SessionMessage]:
    kept = {"update": 0, "rewind": 1}.get(write)
    return before[:kept] + batch_of(step)


def _listed(store: SessionStore) -> set[str]:
    return {info.id for info in store.list_sessions(limit=1000).sessions}
