"""What an OpenTelemetry SDK has been told, in memory: spans and metrics of one test."""

from __future__ import annotations

from collections import Counter
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sessionstore import SessionStore, TracedSessionStore


class Ends(SpanProcessor):
    """Counts how often each span began and ended."""

    def __init__(self) -> None:
        self.began: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_start(self, span: Any, *_: Any, **__: Any) -> None:
        self.began[span.context.span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        self.ended[span.context.span_id] += 1


class Seen:
    """An SDK that keeps what it is told."""

    def __init__(self) -> None:
        self.exporter, self.reader, self.ends = (
            InMemorySpanExporter(),
            InMemoryMetricReader(),
            Ends(),
        )
        self.spans_to = TracerProvider(shutdown_on_exit=False)
        self.spans_to.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans_to.add_span_processor(self.ends)
        self.metrics_to = MeterProvider([self.reader], shutdown_on_exit=False)
        self.tracer = self.spans_to.get_tracer("a test")

    def traced(self, store: SessionStore, name: str | None = None) -> TracedSessionStore:
        return TracedSessionStore(
            store, name=name, tracer_provider=self.spans_to, meter_provider=self.metrics_to
        )

    def spans(self, name: str = "") -> list[ReadableSpan]:
        """Give the spans that have ended, all or those of one name; each ended once."""
        assert self.ends.began == self.ends.ended
        assert set(self.ends.ended.values()) <= {1}
        return [each for each in self.exporter.get_finished_spans() if name in ("", each.name)]

    def span(self, name: str) -> ReadableSpan:
        [span] = self.spans(name)
        return span

    def points(self, metric: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        resources = data.resource_metrics if data else []
        scopes = [scope for resource in resources for scope in resource.scope_metrics]
        found = [one for scope in scopes for one in scope.metrics if one.name == metric]
        return [point for one in found for point in one.data.data_points]

    def value(self, metric: str, **attributes: str) -> Any:
        """Give what a metric is where its attributes end in these names and have these values."""
        [point] = [
            each
            for each in self.points(metric)
            if all(
                [value for key, value in each.attributes.items() if key.split(".")[-1] == name]
                == [wanted]
                for name, wanted in attributes.items()
            )
        ]
        return point.sum if hasattr(point, "sum") else point.value
