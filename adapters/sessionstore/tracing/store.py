"""`TracedSessionStore`: a store whose operations are seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, overload

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from sessionstore.operations import Operation
from sessionstore.store import SessionStore
from sessionstore.tracing.calls import Telemetry
from sessionstore.tracing.instruments import instruments_of
from sessionstore.tracing.names import SCHEMA, SCOPE, own_version
from sessionstore.wrapper import WrapperSessionStore, as_operation

__all__ = ["TracedSessionStore"]

T = TypeVar("T")


def _require_kind(name: str, given: object, kind: type) -> None:
    if not isinstance(given, kind | None):
        found, wanted = type(given).__name__, kind.__name__
        raise TypeError(f"{name} must be an OpenTelemetry {wanted} or None, not {found}")


class TracedSessionStore(WrapperSessionStore):
    """Makes a span of each operation of the store that it wraps, and counts and times them.

    A span is a child of the current one, such as that of an agent's turn, and is itself the current
    one while the store works, so that spans of the driver are its children. It tells the session,
    the agent, numbers of messages and the class of an error: no message, no id of one, no metadata,
    no user, no address and no text of an error. Without an SDK nothing is recorded, at little cost.
    An SDK that fails never fails an operation: it is logged, once.

    Around a fallback it tells what callers were answered; as its primary, what the server was
    asked. In both places at once, a write that is replayed links to the span of the caller that
    wrote it, as long as this process remembers it.

    Example:
        >>> from sessionstore import InMemorySessionStore, TracedSessionStore
        >>> store = TracedSessionStore(InMemorySessionStore(), name="chats")
        >>> store.append_message("s1", {"role": "user", "content": "Hello!"})
        1

    Args:
        store: The store to wrap.
        name: What tells this store from others of the process, as the attribute
            ``sessionstore.store``; ``None`` takes its `system`, with a number behind it where
            another store has that name. Give two stores two names: their metrics are one else.
        tracer_provider: Where spans go; ``None`` for the global one.
        meter_provider: Where metrics go; ``None`` for the global one.

    Raises:
        TypeError: ``store`` is not a store, ``name`` not a string, or a provider not one of
            OpenTelemetry's.
        ValueError: ``name`` is empty.
    """

    def __init__(
        self,
        store: SessionStore,
        *,
        name: str | None = None,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        """Wrap a store."""
        super().__init__(store)
        if not isinstance(name, str | None):
            raise TypeError(f"name must be a string or None, not {type(name).__name__}")
        if name == "":
            raise ValueError("name must not be empty: leave it out, or name the store")
        _require_kind("tracer_provider", tracer_provider, TracerProvider)
        _require_kind("meter_provider", meter_provider, MeterProvider)
        instruments = instruments_of(meter_provider)
        self._name = instruments.watch(self, name)
        tracer = trace.get_tracer(SCOPE, own_version(), tracer_provider, SCHEMA)
        self._telemetry = Telemetry(
            self._wrapped,
            self._name,
            tracer,
            instruments,
            makes_spans=tracer_provider is not None,
        )

    @property
    def name(self) -> str:
        """What spans and metrics call it, as ``sessionstore.store``."""
        return self._name

    @overload
    def run(self, operation: Operation[T]) -> T: ...
    @overload
    def run(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    def run(self, operation: Any) -> Any:
        """Hand an operation on, within a span."""
        with self._telemetry.begin(as_operation(operation)) as call:
            call.result = result = self._wrapped.run(operation)
        return result

    @overload
    async def arun(self, operation: Operation[T]) -> T: ...
    @overload
    async def arun(self, operation: Sequence[Operation[Any]]) -> list[Any]: ...
    async def arun(self, operation: Any) -> Any:
        """Async twin of `run`."""
        with self._telemetry.begin(as_operation(operation)) as call:
            call.result = result = await self._wrapped.arun(operation)
        return result
