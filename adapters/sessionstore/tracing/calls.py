"""One operation under way: its span and what is measured, sync and async."""

from __future__ import annotations

import logging
from contextvars import Token
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

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
    Count,
    asked,
    came_of,
    counter,
    name_of,
    outcome,
)
from sessionstore.wrapper import unwrapped

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Telemetry"]

_IN_THIS_PROCESS = frozenset({"memory", "sqlite"})
_ASKED_EVERY = 0.05  # seconds: to ask whether there is an SDK by now takes as long as all else
_logger = logging.getLogger("sessionstore")


class _Kind(NamedTuple):
    """What operations of a kind have in common: attributes, and what counts their messages."""

    attributes: Attributes
    done: Attributes
    written: Count | None
    read: Count | None
    is_batch: bool


class Telemetry:
    """What the calls of one store have in common.

    Attributes:
        tracer: Makes spans.
        instruments: Take measurements.
        kind: Of its spans.
        leases: The spans that took leases.
        writes: The spans whose writes a fallback has journaled.
    """

    def __init__(
        self,
        store: SessionStore,
        name: str,
        tracer: Tracer,
        instruments: Instruments,
        *,
        makes_spans: bool,
    ) -> None:
        self.tracer: Tracer = tracer
        self.instruments: Instruments = instruments
        self.kind: SpanKind = (
            SpanKind.INTERNAL if store.system in _IN_THIS_PROCESS else SpanKind.CLIENT
        )
        self.leases: Causes = Causes()
        self.writes: Causes = causes_of(store)
        inner = unwrapped(store)
        self._fallback = inner if isinstance(inner, FallbackSessionStore) else None
        if self._fallback is None:  # it may be the primary of one
            self.writes.are_wanted = True
        self._base = {SYSTEM: store.system, STORE: name}
        self._known: dict[str, Attributes] = {}
        self._kinds: dict[type, _Kind] = {}
        self._makes_spans = makes_spans
        self._asks_again = 0.0
        self._is_told = False

    def begin(self, operation: Operation[Any]) -> Timed:
        """Give what times an operation; a span only where somebody may want to see it."""
        if self._makes_spans:
            return Call(self, operation)
        call = Timed(self, operation)
        if call.began < self._asks_again:
            return call
        self._asks_again = call.began + _ASKED_EVERY
        given = trace.get_tracer_provider()
        self._makes_spans = not isinstance(given, trace.ProxyTracerProvider)
        return Call(self, operation) if self._makes_spans else call

    def attributes(self, name: str) -> Attributes:
        """Give what spans and metrics of an operation have in common; not to be changed."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = {**self._base, OPERATION: name}
        return known

    def measure(
        self, operation: Operation[Any], kind: type[BaseException] | None, result: Any, took: float
    ) -> None:
        """Measure an operation: how long it took, in seconds, and what it came to."""
        instruments = self.instruments
        of_kind = self._kinds.get(type(operation)) or self._kind_of(operation)
        if kind is not None:
            attributes = {**of_kind.attributes, **outcome(kind)}
            instruments.duration.record(took, attributes)
            return
        instruments.duration.record(took, of_kind.done)
        if of_kind.written is not None:
            instruments.written.record(of_kind.written(operation, result), of_kind.attributes)
        if of_kind.read is not None:
            instruments.read.record(of_kind.read(operation, result), of_kind.attributes)
        if of_kind.is_batch:
            instruments.batch.record(len(result), of_kind.attributes)

    def failed(self, error: Exception) -> None:
        """Tell once that the SDK, such as a processor of spans, fails: no caller is harmed."""
        if not self._is_told:
            self._is_told = True
            name = type(error).__name__
            _logger.warning("OpenTelemetry's SDK failed, the store goes on: %s", name)

    def _kind_of(self, operation: Operation[Any]) -> _Kind:
        attributes, is_several = self.attributes(name_of(operation)), type(operation) is Several
        kind = _Kind(
            attributes,
            {**attributes, **outcome(None)},
            counter(WRITTEN, operation),
            counter(READ, operation),
            is_several and len(operation.operations) > 1,  # type: ignore[attr-defined]
        )
        if not is_several:  # of which one is not like another
            self._kinds[type(operation)] = kind
        return kind

    def is_degraded(self) -> bool:
        """Tell whether there is a fallback whose primary is away."""
        return self._fallback is not None and self._fallback.is_degraded()

    def causes(self, operation: Operation[Any]) -> list[SpanContext]:
        """Give the spans that an operation is a late consequence of."""
        if type(operation) is RenewLease:
            is_in_turn = trace.get_current_span().get_span_context().is_valid
            return [] if is_in_turn else self.leases.of((operation.session_id, operation.token))
        if not operation.is_write:
            return []
        about = operation.about
        waiting = self.writes.of(about)
        if self._fallback is None:
            return waiting
        if waiting and about is not None and self._fallback.is_clear(about):
            self.writes.discard(about, waiting)  # refused: nothing comes of them any more
        return []

    def note(self, operation: Operation[Any], result: Any, span: SpanContext) -> None:
        """Note the span of what has consequences later, in other calls."""
        if type(operation) is AcquireLease:
            self.leases.add((operation.session_id, result), span)
        elif self._fallback and self.writes.are_wanted and operation.is_write:
            about = operation.about
            if about is not None and not self._fallback.is_clear(about):
                self.writes.add(about, span)


class Timed:
    """An operation under way, which is measured.

    Attributes:
        began: When, of `time.perf_counter`.
        result: What it gave.
    """

    __slots__ = ("_operation", "_telemetry", "began", "result")

    def __init__(self, telemetry: Telemetry, operation: Operation[Any]) -> None:
        self._telemetry, self._operation = telemetry, operation
        self.began: float = perf_counter()
        self.result: Any = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Measure it."""
        took = perf_counter() - self.began
        try:
            self._telemetry.measure(self._operation, kind, self.result, took)
        except Exception as failure:  # noqa: BLE001 - whatever an SDK raises
            self._telemetry.failed(failure)


class Call(Timed):
    """An operation under way, which is measured and has a span."""

    __slots__ = ("_links", "_name", "_span", "_token")

    def __init__(self, telemetry: Telemetry, operation: Operation[Any]) -> None:
        super().__init__(telemetry, operation)
        self._name = name_of(operation)
        self._span: Span | None = None
        self._token: Token[Context] | None = None
        self._links: list[SpanContext] = []

    def __enter__(self) -> Self:
        """Begin the span, and have it be the current one."""
        try:
            self._begin()
        except Exception as failure:  # noqa: BLE001 - whatever an SDK raises
            self._telemetry.failed(failure)
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
        """Measure it, and end the span."""
        if kind is GeneratorExit and trace.get_current_span() is not self._span:
            self._token = None  # closed in another context, such as when a loop has ended
        try:
            super().__exit__(kind, error, traceback)
            if self._span is not None and self._span.is_recording():
                self._tell(self._span, kind)
        except Exception as failure:  # noqa: BLE001 - whatever an SDK raises
            self._telemetry.failed(failure)
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
            try:
                span.end()
            except Exception as failure:  # noqa: BLE001 - whatever an SDK raises
                self._telemetry.failed(failure)

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
