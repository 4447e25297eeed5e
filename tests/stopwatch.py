"""How long a call takes by itself, on a machine that may have more to do."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

_TICK = 0.01


class Stopwatch:
    """Measures how long a block waits, less the time in which this process did not come to run.

    A thread looks at the clock a hundred times a second: where it was late, all were.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._late = 0.0
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.seconds = time.monotonic() - self._began - self._late

    def _watch(self) -> None:
        while not self._over.is_set():
            due = time.monotonic() + _TICK
            self._over.wait(_TICK)
            self._late += max(0.0, time.monotonic() - due)
