"""Which spans something comes of later, in other calls, for those to link to."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable, Iterable
from contextlib import suppress
from weakref import WeakKeyDictionary

from opentelemetry.trace import SpanContext

from sessionstore._runtime.fork_locks import fork_safe_rlock
from sessionstore.store import SessionStore
from sessionstore.wrapper import OuterSessionStore

__all__ = ["Causes", "causes_of"]

_MOST_CAUSES, _MOST_SPANS = 1000, 8


class Causes:
    """The spans of which something comes later, the last ones by what they are about.

    Attributes:
        are_wanted: Somebody will ask for them.
    """

    def __init__(self) -> None:
        self.are_wanted: bool = False
        # Reentrant, since the collector may end a turn in here, whose store is traced.
        self._lock = fork_safe_rlock()
        self._spans: OrderedDict[Hashable, deque[SpanContext]] = OrderedDict()

    def add(self, about: Hashable, span: SpanContext) -> None:
        """Note one."""
        with self._lock, suppress(KeyError):  # what the collector ends may discard it
            self._spans.setdefault(about, deque(maxlen=_MOST_SPANS)).append(span)
            self._spans.move_to_end(about)
            if len(self._spans) > _MOST_CAUSES:
                self._spans.popitem(last=False)

    def of(self, about: Hashable) -> list[SpanContext]:
        """Give those that are about this."""
        if not self._spans:
            return []
        with self._lock:
            return list(self._spans.get(about, ()))

    def discard(self, about: Hashable, spans: Iterable[SpanContext]) -> None:
        """Forget some."""
        for span in spans:
            with self._lock, suppress(KeyError, ValueError):
                self._spans[about].remove(span)
                if not self._spans[about]:
                    del self._spans[about]


_causes: WeakKeyDictionary[SessionStore, Causes] = WeakKeyDictionary()


def causes_of(store: SessionStore) -> Causes:
    """Give what all stores around the same one share, a fallback's primary among them."""
    while isinstance(store, OuterSessionStore):
        store = store.wrapped
    return _causes.setdefault(store, Causes())
