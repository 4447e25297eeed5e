"""Many processes at once on one storage."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing.context import BaseContext
from typing import Any, TypeVar

import pytest

from sessionstore.errors import SessionConflictError, SessionExistsError
from sessionstore.store import SessionStore
from sessionstore.testing.concurrency import BATCH, batches_of, require_whole_log
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite, attempt
from sessionstore.testing.samples import said, stored

__all__ = ["ProcessContract", "Processes", "afresh", "in_a_process"]

T = TypeVar("T")

COUNT = 4
_PATIENCE = 60.0
_OURS = __name__.partition(".")[0]
_gate: threading.Barrier


class Processes:
    """Four processes of their own, started afresh, that do the same work at the same time."""

    def __init__(self) -> None:
        """Start none yet: each starts with its first work."""
        context = afresh()
        self._pool = ProcessPoolExecutor(
            COUNT, mp_context=context, initializer=_enter, initargs=(context.Barrier(COUNT),)
        )

    def at_once(self, work: Callable[..., Any], *args: Any) -> list[Any]:
        """Do a work in all four, each with its number as the last argument.

        Args:
            work: A function of a module.
            args: Its arguments.

        Returns:
            What each returned. The first that raised raises here.
        """
        futures = [self._pool.submit(_at_the_gate, work, *args, n) for n in range(COUNT)]
        return [future.result() for future in futures]

    def close(self) -> None:
        """End them all."""
        self._pool.shutdown()


def afresh() -> BaseContext:
    """Start from a process that has imported the stores and done nothing, where there are such."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([name for name in sys.modules if name.startswith(_OURS)])
    return context


def in_a_process(work: Callable[..., T], *args: Any) -> T:
    """Do a work in a process of its own, started afresh, and give what it returns.

    Args:
        work: A function of a module.
        args: Its arguments.

    Returns:
        What it returned. What it raises raises here.
    """
    with ProcessPoolExecutor(1, mp_context=afresh()) as process:
        return process.submit(work, *args).result()


def _enter(gate: threading.Barrier) -> None:
    global _gate  # noqa: PLW0603 - a barrier is handed to a process only when it starts
    _gate = gate


def _at_the_gate(work: Callable[..., Any], *args: Any) -> Any:
    _gate.wait(_PATIENCE)
    return work(*args)


def _write(open_store: OpenStore, mode: str, writer: int) -> int:
    with Stores(open_store, mode) as stores:
        store = stores.open()
        for batch in batches_of(writer, 8):
            assert store.append_messages(f"{mode} own", batch) == BATCH
        return sum(store.append_messages(f"{mode} same", batch) for batch in batches_of(0, 8))


def _race(open_store: OpenStore, mode: str, racer: int) -> list[tuple[bool, bool]]:
    with Stores(open_store, mode) as stores:
        store = stores.open()
        return [_run(store, mode, seen, racer) for seen in range(5)]


def _run(store: SessionStore, mode: str, seen: int, racer: int) -> tuple[bool, bool]:
    append = partial(store.append_message, mode, said(f"{seen} {racer}"), expected_version=seen)
    create = partial(store.create, f"{mode} {seen}", metadata={"by": racer})
    _gate.wait(_PATIENCE)
    appended = attempt(append, SessionConflictError)
    made = attempt(create, SessionExistsError)
    return not isinstance(appended, Exception), not isinstance(made, Exception)


class ProcessContract(StoreSuite):
    """Guarantees 1 to 3 and 5 hold across processes."""

    @pytest.fixture
    def processes(self) -> Iterator[Processes]:
        """Give four processes."""
        self.require_support("processes")
        processes = Processes()
        yield processes
        processes.close()

    def test_writers_in_processes_lose_nothing(
        self, open_store: OpenStore, processes: Processes
    ) -> None:
        """4 writers that open a new storage at once: nothing lost, nothing twice, all in order."""
        for mode in ("sync", "async"):
            added = processes.at_once(_write, open_store, mode)
            assert sum(added) == 8 * BATCH
            with open_store() as store:
                require_whole_log(store.get_messages(f"{mode} own"), COUNT, 8)
                require_whole_log(store.get_messages(f"{mode} same"), 1, 8)
                assert stored(store, f"{mode} own").version == COUNT * 8

    def test_racing_processes_have_one_winner(
        self, open_store: OpenStore, processes: Processes
    ) -> None:
        """Of those who saw one version one appends, and of those who create an id one does."""
        for mode in ("async", "sync"):
            rounds = processes.at_once(_race, open_store, mode)
            with open_store() as store:
                log = store.get_messages(mode)
                assert len(log) == 5
                for seen, outcomes in enumerate(zip(*rounds, strict=True)):
                    appended, made = zip(*outcomes, strict=True)
                    assert (sum(appended), sum(made)) == (1, 1)
                    assert log[seen].content == f"{seen} {appended.index(True)}"
                    by = stored(store, f"{mode} {seen}").metadata["by"]
                    assert by == made.index(True)
