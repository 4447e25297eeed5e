"""A store called sync or async: plainly, or as its async twins on an event loop."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import pytest

from sessionstore.leases import Lease
from sessionstore.store import SessionStore
from sessionstore.testing.capabilities import Capabilities

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["OpenStore", "StoreSuite", "Stores", "attempt"]

T = TypeVar("T")

OpenStore: TypeAlias = Callable[..., SessionStore]
"""Opens a test's storage: a new store over it with each call, given the store's options."""

_PATIENCE = 60.0


class Stores:
    """The stores that one test opens, all called in the mode of that test.

    Used in a ``with`` block, it closes them in the end.

    Args:
        open_store: Opens the storage under test.
        mode: ``"sync"`` or ``"async"``.
    """

    def __init__(self, open_store: OpenStore, mode: str) -> None:
        """Open nothing yet."""
        self.mode = mode
        self._open_store = open_store
        self._loops = _Loops() if mode == "async" else None
        self._opened: list[SessionStore] = []

    def open(self, **options: Any) -> SessionStore:
        """Open the storage once more.

        Args:
            options: The store's options.

        Returns:
            The store, or in async mode what stands for it: a call of its method
            ``append_messages`` runs ``aappend_messages`` on the event loop of the thread.
        """
        store = self._open_store(**options)
        if self._loops is not None:
            store = cast("SessionStore", _Twins(store, self._loops.run))
        self._opened.append(store)
        return store

    def call(
        self, function: Callable[..., T], twin: Callable[..., Any], store: SessionStore, *args: Any
    ) -> T:
        """Call a function that is given a store; in async mode its async twin.

        Args:
            function: The function.
            twin: Its async twin.
            store: What `open` gave.
            args: What else it is given.

        Returns:
            What it returns.
        """
        if not isinstance(store, _Twins):
            return function(store, *args)
        given: T = store.given_to(twin, *args)
        return given

    def at_once(self, *works: Callable[[], T]) -> list[T]:
        """Do all works at the same time, each in a thread of its own, with a loop of its own.

        Python changes threads as often as it can meanwhile, so that what can go wrong does.

        Args:
            works: What to call.

        Returns:
            What they returned, in their order. The first that raised raises here.
        """
        gate = threading.Barrier(len(works))

        def run(work: Callable[[], T]) -> T:
            try:
                gate.wait(_PATIENCE)
                return work()
            finally:
                self._close_loop()

        with _hasty_threads(), ThreadPoolExecutor(len(works)) as threads:
            return list(threads.map(run, works))

    def __enter__(self) -> Self:
        """Give the stores."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close all stores that were opened, and the event loop they ran on."""
        for store in reversed(self._opened):
            store.close()
        self._close_loop()

    def _close_loop(self) -> None:
        if self._loops is not None:
            self._loops.close()


@contextmanager
def _hasty_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


class _Loops(threading.local):
    """One event loop for each thread, made at its first use."""

    loop: asyncio.AbstractEventLoop | None = None

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if self.loop is None:
            self.loop = asyncio.new_event_loop()
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        loop, self.loop = self.loop, None
        if loop is None:
            return
        try:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


class _Twins:
    """Stands for a store, and runs the async twin of each method that is called."""

    def __init__(self, store: SessionStore, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._store = store
        self._run = run

    def lease(self, session_id: str, **options: Any) -> Lease:
        return Lease(cast("SessionStore", self), session_id, **options)

    def given_to(self, twin: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> Any:
        return self._run(twin(self._store, *args))

    def __getattr__(self, name: str) -> Callable[..., Any]:
        twin = getattr(self._store, f"a{name}")

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._run(twin(*args, **kwargs))

        return call


class StoreSuite(Capabilities):
    """The fixtures that all tests of the suite take their stores from."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Open the storage under test: the one fixture that a subclass has to give."""
        raise NotImplementedError("give the test class a fixture open_store: see its docstring")

    @pytest.fixture(params=["sync", "async"])
    def stores(self, request: pytest.FixtureRequest, open_store: OpenStore) -> Iterator[Stores]:
        """Give the stores of one test in one mode, and close them after it."""
        with Stores(open_store, request.param) as stores:
            yield stores

    @pytest.fixture
    def store(self, stores: Stores) -> SessionStore:
        """Give a store without options, in one mode."""
        return stores.open()


def attempt(call: Callable[[], T], *expected: type[Exception]) -> T | Exception:
    """Give what a call returns, or the error that it raises, if that is an expected one."""
    try:
        return call()
    except expected as error:
        return error
