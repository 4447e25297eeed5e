"""Stores around another one: `WrapperSessionStore` is the base of what changes a little of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from sessionstore.bounds import StoreBounds
from sessionstore.operations import Operation, as_several
from sessionstore.stats import StoreStats
from sessionstore.store import SessionStore

__all__ = ["OuterSessionStore", "WrapperSessionStore", "as_operation", "unwrapped"]

T = TypeVar("T")


class OuterSessionStore(SessionStore):
    """A store around another one, in whose time and bounds it does what it does.

    Args:
        store: The store to wrap.
        name: What to call that in an error.

    Raises:
        TypeError: ``store`` is not a store.
    """

    def __init__(self, store: SessionStore, name: str = "store") -> None:
        """Wrap a store."""
        if not isinstance(store, SessionStore):
            kind = type(store).__name__
            raise TypeError(f"{name} must be a store, such as open_store(url) gives, not {kind}")
        self._wrapped = store

    @property
    def wrapped(self) -> SessionStore:
        """The store that it wraps."""
        return self._wrapped

    @property
    def timeout(self) -> float | None:
        """How long a call may take, as the wrapped store says."""
        return self._wrapped.timeout

    @property
    def system(self) -> str:
        """What keeps the sessions, as the wrapped store says."""
        return self._wrapped.system

    @property
    def bounds(self) -> StoreBounds:
        """The largest write, as the wrapped store says."""
        return self._wrapped.bounds


class WrapperSessionStore(OuterSessionStore):
    """Hands every operation on to the store that it wraps.

    Whoever wants to count, check, change or time operations derives from it and overrides `run` and
    `arun`: what the public methods are asked for arrives there, as values. Closing it closes the
    store that it wraps.

    Example:
        >>> from sessionstore import InMemorySessionStore, WrapperSessionStore
        >>> class CountingStore(WrapperSessionStore):
        ...     calls = 0
        ...
        ...     def run(self, operation):
        ...         self.calls += 1
        ...         return super().run(operation)
        >>> store = CountingStore(InMemorySessionStore())
        >>> store.append_message("s1", {"role": "user", "content": "Hello!"})
        1
        >>> store.calls
        1

    Args:
        store: The store to wrap.

    Raises:
        TypeError: ``store`` is not a store.
    """

    def __init__(self, store: SessionStore) -> None:
        """Wrap a store."""
        super().__init__(store)

    def __repr__(self) -> str:
        """Tell what it wraps."""
        return f"{type(self).__name__}({self._wrapped!r})"

    def _repr_html_(self) -> str:
        """Show a notebook the newest sessions; around a fallback, how that stands."""
        inner = unwrapped(self)
        return (
            inner._repr_html_() if isinstance(inner, OuterSessionStore) else super()._repr_html_()
        )

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    def run(self, operation: Any) -> Any:
        """Hand an operation on."""
        return self._wrapped.run(operation)

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        return await self._wrapped.arun(operation)

    def stats(self) -> StoreStats:
        """Give what the wrapped store has counted."""
        return self._wrapped.stats()

    def is_degraded(self) -> bool:
        """Tell whether the wrapped store does without its primary."""
        return self._wrapped.is_degraded()

    def recover(self) -> bool:
        """Have the wrapped store try its primary now."""
        return self._wrapped.recover()

    async def arecover(self) -> bool:
        """Async twin of `recover`."""
        return await self._wrapped.arecover()

    def close(self) -> None:
        """Close the wrapped store."""
        self._wrapped.close()

    async def aclose(self) -> None:
        """Async twin of `close`."""
        await self._wrapped.aclose()


def as_operation(given: object) -> Operation[Any]:
    """Give an operation as it is, and a list of operations as one: what a wrapper's `run` is given.

    Args:
        given: What `run` was given.

    Returns:
        The operation; of a list, `Several`.

    Raises:
        InvalidTypeError: It is neither an operation nor a list of some.
        InvalidSessionError: They can't be one step: see `Several`.
    """
    return given if isinstance(given, Operation) else as_several("WrapperSessionStore", given)


def unwrapped(store: SessionStore) -> SessionStore:
    """Give the store that carries out what a store hands on, or the store itself.

    A fallback is not looked into: what it is asked, its primary may never be.
    """
    while isinstance(store, WrapperSessionStore):
        store = store.wrapped
    return store
