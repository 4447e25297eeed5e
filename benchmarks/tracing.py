"""What `TracedSessionStore` costs where no OpenTelemetry SDK is there, and where one records."""

from __future__ import annotations

from measure import Loop, Measured, interleaved
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from ours import AsyncBare, Bare
from places import Place
from turns import WINDOWED, use

from sessionstore import TracedSessionStore

TRACED_TURN = "a turn, the last 20, traced"
WITHOUT_SDK, RECORDING = "the store, traced, no SDK", "the store, traced, recording"
_LENGTH = 100


class Traced(Bare):
    """A traced store, with no SDK."""

    name = WITHOUT_SDK

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self.store = TracedSessionStore(self.store)


class AsyncTraced(AsyncBare):
    """The same in asyncio."""

    name = WITHOUT_SDK

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self.store = TracedSessionStore(self.store)


class Recorded(Bare):
    """A traced store, whose spans and metrics an SDK makes, and exports nowhere."""

    name = RECORDING

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        meters = MeterProvider(metric_readers=[InMemoryMetricReader()], shutdown_on_exit=False)
        spans = TracerProvider(shutdown_on_exit=False)
        self.store = TracedSessionStore(self.store, tracer_provider=spans, meter_provider=meters)


def tracing(loop: Loop, backend: str, place: Place, *, seconds: float) -> list[Measured]:
    """Measure turns beside those of the store that is not traced."""
    kinds = (Bare, AsyncBare, Traced, AsyncTraced, Recorded)
    subjects = [kind(backend, place(fresh=True)) for kind in kinds]
    uses = [use(loop, subject, _LENGTH, WINDOWED, name=TRACED_TURN) for subject in subjects]
    measured = interleaved(loop, uses, seconds=seconds, most=400)
    for subject in subjects:
        loop.run(subject.close())
    return measured
