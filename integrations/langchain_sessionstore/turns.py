"""A turn, free or under its session's lease: what carries its operations out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_sessionstore.concurrent_turns import TurnTerms
from langchain_sessionstore.renewed_lease import RenewedLease
from sessionstore import SessionStore
from sessionstore.operations import Several
from sessionstore.runner import Runner

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FreeTurn", "LeasedTurn"]

T = TypeVar("T")

_around: ContextVar[tuple[RenewedLease, ...]] = ContextVar("sessionstore_turns", default=())


class FreeTurn(Runner):
    """A turn that needs no lease: its operations are the store's, as they are."""

    def __init__(self, store: SessionStore) -> None:
        """Begin.

        Args:
            store: Where the session is.
        """
        self._store = store

    def run(self, operation: Any) -> Any:
        """Carry out an operation of the turn."""
        return self._store.run(operation)

    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return await self._store.arun(operation)

    def inside(self) -> AbstractContextManager[object]:
        """Run what belongs to the turn: what remembers in there is a part of it."""
        return nullcontext()

    def steps(self, chunks: Iterator[T]) -> Iterator[T]:
        """Give what belongs to the turn, chunk by chunk: who takes them is not a part of it."""
        return chunks

    def asteps(self, chunks: AsyncIterator[T]) -> AsyncIterator[T]:
        """Async twin of `steps`."""
        return chunks

    def leave(self, chunks: Iterator[Any]) -> None:
        """Close what belongs to the turn: what remembers in there is left before the turn is."""
        if close := getattr(chunks, "close", None):
            with self.inside():
                close()

    async def aleave(self, chunks: AsyncIterator[Any]) -> None:
        """Async twin of `leave`."""
        if aclose := getattr(chunks, "aclose", None):
            with self.inside():
                await aclose()

    def __enter__(self) -> Self:
        """Begin the turn."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""

    async def __aenter__(self) -> Self:
        """Begin the turn."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End it."""


class LeasedTurn(FreeTurn):
    """A turn that holds its session's lease: each of its writes is under it.

    What remembers in the same session within the turn is a part of it, and has its lease: else it
    would wait for itself.

    Attributes:
        lease: The lease.
        is_part: Whether the lease is that of a turn around this one.
        is_over: Whether it ends as soon as nothing of it runs.
    """

    def __init__(
        self,
        store: SessionStore,
        session_id: str,
        user_id: str | None,
        terms: TurnTerms,
        holder: str | None = None,
        *,
        is_resumable: bool = False,
    ) -> None:
        """Prepare it; nothing is asked yet.

        Args:
            store: Where the session is.
            session_id: The session.
            user_id: The caller.
            terms: On which terms the lease is taken.
            holder: Who takes it; ``None`` for somebody new.
            is_resumable: Whether it may be gone on with when nothing holds this any more.
        """
        super().__init__(store)
        outer = _lease_around(store, session_id)
        self.is_part: bool = outer is not None
        self.lease: RenewedLease = outer or RenewedLease(
            store, session_id, user_id, terms, holder, is_resumable=is_resumable
        )
        self.is_over: bool = False
        self._renewing = ExitStack()

    def __deepcopy__(self, _: dict[int, Any]) -> Self:
        """Be the same turn in a copy of an agent's state."""
        return self

    def run(self, operation: Any) -> Any:
        """Carry out an operation of the turn; a write only while the lease is held.

        Raises:
            SessionLeasedError: It was lost; nothing was written.
        """
        parts = self._fenced(operation)
        if parts is None:
            return self._store.run(operation)
        return _own_results(operation, self._store.run(parts))

    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        parts = self._fenced(operation)
        if parts is None:
            return await self._store.arun(operation)
        return _own_results(operation, await self._store.arun(parts))

    def _fenced(self, operation: Any) -> list[Any] | None:
        one = Several(list(operation)) if isinstance(operation, (list, tuple)) else operation
        if not one.is_write:
            return None
        parts = one.operations if isinstance(one, Several) else [one]
        return [self.lease.fence(one.user_id), *parts]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run what belongs to the turn: what remembers in there is a part of it.

        Yields:
            While it runs.
        """
        token = _around.set((*_around.get(), self.lease))
        try:
            yield
        finally:
            _around.reset(token)

    def steps(self, chunks: Iterator[T]) -> Iterator[T]:
        """Give what belongs to the turn, chunk by chunk: who takes them is not a part of it."""
        while True:
            with self.inside():
                try:
                    chunk = next(chunks)
                except StopIteration:
                    return
            yield chunk

    async def asteps(self, chunks: AsyncIterator[T]) -> AsyncIterator[T]:
        """Async twin of `steps`."""
        while True:
            with self.inside():
                try:
                    chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
            yield chunk

    def take(self) -> None:
        """Take the lease, or wait for it.

        Raises:
            SessionLeasedError: Another turn holds it, and did to the end of the wait.
        """
        if not self.is_part:
            self.lease.take()

    async def atake(self) -> None:
        """Async twin of `take`."""
        if not self.is_part:
            await self.lease.atake()

    def give_back(self) -> None:
        """Give the lease back, where it is this turn's own."""
        if not self.is_part:
            self.lease.give_back()

    async def agive_back(self) -> None:
        """Async twin of `give_back`."""
        if not self.is_part:
            await self.lease.agive_back()

    def __enter__(self) -> Self:
        """Take the lease, and renew it from now on."""
        try:
            self.take()
            self._renewing.enter_context(self.lease.renewing())
        except BaseException:  # interrupted as its renewals begin
            self.give_back()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._renewing.close()
        self.give_back()

    async def __aenter__(self) -> Self:
        """Take the lease, and renew it from now on."""
        try:
            await self.atake()
            self._renewing.enter_context(self.lease.renewing())
        except BaseException:  # interrupted as its renewals begin
            await self.agive_back()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give it back."""
        self._renewing.close()
        await self.agive_back()


def _lease_around(store: SessionStore, session_id: str) -> RenewedLease | None:
    for lease in reversed(_around.get()):
        is_of_it = lease.store is store and lease.session_id == session_id
        if is_of_it and lease.is_held and lease.is_here:
            return lease
    return None


def _own_results(operation: Any, results: list[Any]) -> Any:
    """Give what the operation gives, without the fence's."""
    is_list = isinstance(operation, (list, tuple, Several))
    return results[1:] if is_list else results[1]
