"""The metrics: what operations took, and what the stores tell of themselves by `stats`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TypeAlias
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation

from sessionstore._runtime.fork_locks import fork_safe_lock
from sessionstore.fallback import FallbackStats
from sessionstore.stats import StoreStats
from sessionstore.store import SessionStore
from sessionstore.tracing.names import OPERATION, SCHEMA, SCOPE, STORE, SYSTEM, own_version
from sessionstore.tracing.telling import Attributes

__all__ = ["Instruments", "instruments_of"]

Read: TypeAlias = Callable[[StoreStats, str], Iterable[tuple[float, Attributes]]]

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
_NUMBERS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)
_LISTS = {"Several": "BATCH"}
_POOL = "db.client.connection.pool.name"


class Instruments:
    """The instruments of one provider, for all stores: an SDK takes each name once.

    Attributes:
        duration: Of operations.
        written: Messages of each write.
        read: Messages of each read.
        batch: Operations of each list.
    """

    def __init__(self, meter: Meter) -> None:
        self._watched: WeakKeyDictionary[SessionStore, str] = WeakKeyDictionary()
        self._naming = fork_safe_lock()
        self.duration: Histogram = meter.create_histogram(
            "db.client.operation.duration",
            "s",
            "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        made = [
            meter.create_histogram(name, unit, what, explicit_bucket_boundaries_advisory=_NUMBERS)
            for name, unit, what in _NUMBERED
        ]
        self.written: Histogram = made[0]
        self.read: Histogram = made[1]
        self.batch: Histogram = made[2]
        for name, kind, unit, what, read in _OBSERVED:
            create = getattr(meter, f"create_observable_{kind}")
            create(name, [partial(_observed, self._watched, read)], unit, what)

    def watch(self, store: SessionStore, name: str | None) -> str:
        """Observe a store as long as it lives; give the name under which."""
        with self._naming:  # or two threads give two stores one name
            chosen = self._free_name(store.system) if name is None else name
            self._watched[store] = chosen
        return chosen

    def _free_name(self, system: str) -> str:
        taken = set(self._watched.values())
        names = (system if n == 1 else f"{system}-{n}" for n in count(1))
        return next(each for each in names if each not in taken)


_NUMBERED = (
    ("sessionstore.messages.written", "{message}", "Messages that a write has written."),
    ("sessionstore.messages.read", "{message}", "Messages that a read has given."),
    ("sessionstore.batch.size", "{operation}", "Operations of a list that was one step."),
)


def _of_fallback(read: Callable[[FallbackStats], float]) -> Read:
    def given(stats: StoreStats, _: str) -> Iterable[tuple[float, Attributes]]:
        return [(read(stats), {})] if isinstance(stats, FallbackStats) else []

    return given


def _connections(stats: StoreStats, name: str) -> Iterable[tuple[float, Attributes]]:
    if (found := stats.connections) is not None:
        yield found.idle, {_POOL: name, "db.client.connection.state": "idle"}
        yield found.in_use, {_POOL: name, "db.client.connection.state": "used"}


def _most_connections(stats: StoreStats, name: str) -> Iterable[tuple[float, Attributes]]:
    if stats.connections is not None and stats.connections.most is not None:
        yield stats.connections.most, {_POOL: name}


def _operations(stats: StoreStats, _: str) -> Iterable[tuple[float, Attributes]]:
    """Name them as spans do, but for lists, of which it is not known what was in them."""
    counts = stats.operations.items()
    return [(number, {OPERATION: _LISTS.get(name, name)}) for name, number in counts]


def _errors(stats: StoreStats, _: str) -> Iterable[tuple[float, Attributes]]:
    return [(number, {"error.type": name}) for name, number in stats.errors.items()]


_OBSERVED: tuple[tuple[str, str, str, str, Read], ...] = (
    (
        "sessionstore.operations",
        "counter",
        "{operation}",
        "Operations that the store was asked for.",
        _operations,
    ),
    ("sessionstore.errors", "counter", "{error}", "Errors that the store raised.", _errors),
    (
        "db.client.connection.count",
        "up_down_counter",
        "{connection}",
        "Connections that are open, by their state.",
        _connections,
    ),
    (
        "db.client.connection.max",
        "up_down_counter",
        "{connection}",
        "Connections that there may be.",
        _most_connections,
    ),
    (
        "sessionstore.fallback.degraded",
        "gauge",
        "",
        "1 while the primary is away, else 0.",
        _of_fallback(lambda stats: int(stats.is_degraded)),
    ),
    (
        "sessionstore.fallback.degraded_time",
        "counter",
        "s",
        "For how long the primary was away.",
        _of_fallback(lambda stats: stats.seconds_degraded),
    ),
    (
        "sessionstore.fallback.outages",
        "counter",
        "{outage}",
        "How often the primary was given up.",
        _of_fallback(lambda stats: stats.fallbacks),
    ),
    (
        "sessionstore.fallback.slow_sessions",
        "gauge",
        "{session}",
        "Sessions that are left alone by themselves.",
        _of_fallback(lambda stats: stats.slow_sessions),
    ),
    (
        "sessionstore.fallback.pending",
        "gauge",
        "{write}",
        "Writes that wait for the primary.",
        _of_fallback(lambda stats: stats.pending),
    ),
    (
        "sessionstore.fallback.replayed",
        "counter",
        "{write}",
        "Writes that the primary has taken since.",
        _of_fallback(lambda stats: stats.replayed),
    ),
    (
        "sessionstore.fallback.rejected",
        "counter",
        "{write}",
        "Writes that were set aside.",
        _of_fallback(lambda stats: stats.rejected),
    ),
)


def _observed(
    watched: WeakKeyDictionary[SessionStore, str], read: Read, _: CallbackOptions
) -> Iterable[Observation]:
    """Observe those stores that are still there; no server is asked."""
    found: list[Observation] = []
    for ref in watched.keyrefs():
        store = ref()
        with suppress(Exception):  # one that can't tell does not keep the others from it
            if store is not None:
                name = watched[store]
                base = {SYSTEM: store.system, STORE: name}
                told = read(store.stats(), name)
                found += [Observation(number, {**base, **more}) for number, more in told]
    return found


_made: WeakKeyDictionary[MeterProvider, Instruments] = WeakKeyDictionary()
_global: list[Instruments] = []
_making = fork_safe_lock()


def instruments_of(provider: MeterProvider | None) -> Instruments:
    """Give the instruments of a provider; for ``None`` of the global one."""
    with _making:
        if provider is None or provider is metrics.get_meter_provider():
            if not _global:
                _global.append(Instruments(_meter(None)))
            return _global[0]
        if provider not in _made:
            _made[provider] = Instruments(_meter(provider))
        return _made[provider]


def _meter(provider: MeterProvider | None) -> Meter:
    return metrics.get_meter(SCOPE, own_version(), provider, SCHEMA)
