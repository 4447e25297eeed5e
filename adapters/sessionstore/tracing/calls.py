"""One operation under way: its span and what is measured, sync and async."""

from __future__ import annotations

import logging
from contextvars import Token
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from sessionstore.fallback import FallbackSessionStore
from sessionstore.operations import AcquireLease, Operation, RenewLease, Several
from sessionstore.store import SessionStore
from sessionstore.tracing.causes import Causes, causes_of
from sessionstore.tracing.instruments import Instruments
from sessionstore.tracing.names import OPERATION, STORE, SYSTEM
from sessionstore.tracing.telling import (
    READ,
    WRITTEN,
    Attributes,
    asked,
    came_of,
    name_of,
    number,
    outcome,
)
from sessionstore.wrapper import unwrapped

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Call", "Telemetry"]

_IN_THIS_PROCESS = frozenset({"memory", "sqlite"})
_logger = logging.getLogger("sessionstore")


class Telemetry:
    """What the calls of one store have in common.

    Attributes:
        tracer: Makes spans.
        instruments: Take measurements.
        kind: Of its spans.
        unharmed: Keeps the SDK's failures from callers.
        leases: The spans that took leases.
        writes: The spans whose writes a fallback has journaled.
    """

    def __init__(
        self, store: SessionStore, name: str, tracer: Tracer, instruments: Instruments
    ) -> None:
        self.tracer: Tracer = tracer
        self.instruments: Instruments = instruments
        self.kind: SpanKind = (
            SpanKind.INTERNAL if store.system in _IN_THIS_PROCESS else SpanKind.CLIENT
        )
        self.unharmed: Unharmed = Unharmed()
        self.leases: Causes = Causes()
        self.writes: Causes = causes_of(store)
        inner = unwrapped(store)
        self._fallback = inner if isinstance(inner, FallbackSessionStore) else None
        if self._fallback is None:  # it may be the primary of one
            self.writes.are_wanted = True
        self._base = {SYSTEM: store.system, STORE: name}
        self._known: dict[str, Attributes] = {}
        self._done: dict[str, Attributes] = {}

    def attributes(self, name: str) -> Attributes:
        """Give what spans and metrics of an operation have in common; not to be changed."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = {**self._base, OPERATION: name}
        return known

    def ended(self, name: str, kind: type[BaseException] | None) -> Attributes:
        """Give the same, with how it ended."""
        if kind is not None:
            return {**self.attributes(name), **outcome(kind)}
        done = self._done.get(name)
        if done is None:
            done = self._done[name] = {**self.attributes(name), **outcome(None)}
        return done

    def is_degraded(self) -> bool:
        """Tell whether there is a fallback whose primary is away."""
        return self._fallback is not None and self._fallback.is_degraded()

    def causes(self, operation: Operation[Any]) -> list[SpanContext]:
        """Give the spans that an operation is a late consequence of."""
        if type(operation) is RenewLease:
            is_in_turn = trace.get_current_span().get_span_context().is_valid
            return [] if is_in_turn else self.leases.of((operation.session_id, operation.token))
        if self._fallback or not operation.is_write:
            return []
        return self.writes.of(operation.about)

    def note(self, operation: Operation[Any], result: Any, span: SpanContext) -> None:
        """Note the span of what has consequences later, in other calls."""
        if type(operation) is AcquireLease:
            self.leases.add((operation.session_id, result), span)
        elif self._fallback and self.writes.are_wanted and operation.is_write:
            about = operation.about
            if about is not None and not self._fallback.is_clear(about):
                self.writes.add(about, span)


class Call:
    """An operation under way.

    Attributes:
        result: What it gave.
    """

    __slots__ = (
        "_began",
        "_links",
        "_name",
        "_operation",
        "_span",
        "_telemetry",
        "_token",
        "result",
    )

    def __init__(self, telemetry: Telemetry, operation: Operation[Any]) -> None:
        self._telemetry, self._operation = telemetry, operation
        self._name = name_of(operation)
        self._span: Span | None = None
        self._token: Token[Context] | None = None
        self._links: list[SpanContext] = []
        self._began = perf_counter()
        self.result: Any = None

    def __enter__(self) -> Self:
        """Begin the span, and have it be the current one."""
        try:
            with self._telemetry.unharmed:
                self._begin()
        except BaseException:  # Ctrl-C
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Measure, and end the span."""
        seconds = perf_counter() - self._began
        try:
            with self._telemetry.unharmed:
                self._measure(kind, seconds)
            with self._telemetry.unharmed:
                if self._span is not None and self._span.is_recording():
                    self._tell(self._span, kind)
        finally:
            self._end()

    def _begin(self) -> None:
        telemetry, operation = self._telemetry, self._operation
        attributes, about = telemetry.attributes(self._name), operation.about
        if about is not None:
            attributes = {**attributes, "gen_ai.conversation.id": about}
        self._links = telemetry.causes(operation)
        self._span = span = telemetry.tracer.start_span(
            self._name,
            kind=telemetry.kind,
            attributes=attributes,
            links=[Link(each) for each in self._links] if self._links else None,
        )
        if span.is_recording():
            span.set_attributes(asked(operation))
        if span.get_span_context().is_valid:
            self._token = context.attach(trace.set_span_in_context(span))

    def _end(self) -> None:
        """End the span, and have the one before it be the current one again."""
        token, span, self._token, self._span = self._token, self._span, None, None
        if token is not None:
            context.detach(token)
        if span is not None:
            with self._telemetry.unharmed:
                span.end()

    def _measure(self, kind: type[BaseException] | None, seconds: float) -> None:
        instruments, operation = self._telemetry.instruments, self._operation
        attributes = self._telemetry.attributes(self._name)
        instruments.duration.record(seconds, self._telemetry.ended(self._name, kind))
        if type(operation) is Several and len(operation.operations) > 1:
            instruments.batch.record(len(operation.operations), attributes)
        if kind is None:
            written = number(WRITTEN, operation, self.result)
            if written is not None:
                instruments.written.record(written, attributes)
            read = number(READ, operation, self.result)
            if read is not None:
                instruments.read.record(read, attributes)

    def _tell(self, span: Span, kind: type[BaseException] | None) -> None:
        telemetry, operation = self._telemetry, self._operation
        span.set_attributes(outcome(kind))
        if telemetry.is_degraded():
            span.set_attribute("sessionstore.fallback.degraded", True)
        if kind is None:
            span.set_attributes(came_of(operation, self.result))
            telemetry.note(operation, self.result, span.get_span_context())
            telemetry.writes.discard(operation.about, self._links)
        elif issubclass(kind, Exception):
            span.set_status(Status(StatusCode.ERROR))


class Unharmed:
    """Keeps a failure of the SDK, such as of a processor of spans, from the caller."""

    def __init__(self) -> None:
        self._is_told = False

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        if kind is None or not issubclass(kind, Exception):
            return False
        if not self._is_told:
            self._is_told = True
            _logger.warning("OpenTelemetry's SDK failed, the store goes on: %s", kind.__name__)
        return True
