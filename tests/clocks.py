"""The machine's clock as somebody sets it, for stores that go by `sessionstore._runtime.clock`."""

from __future__ import annotations

import pytest

from sessionstore._runtime.clock import clock, steady_microseconds, wall_microseconds

SECOND = 1_000_000
DAY = 86_400 * SECOND


class MachineClock:
    """Sets the wall clock of this process's stores, and lets time pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ahead = self.passed = 0
        monkeypatch.setattr(clock, "_seen", clock._seen)  # restored when the test is over
        monkeypatch.setattr(clock, "wall", lambda: wall_microseconds() + self.ahead + self.passed)
        monkeypatch.setattr(clock, "steady", lambda: steady_microseconds() + self.passed)

    def set_ahead(self, days: float) -> None:
        """Set the wall clock, in days from what is right; below 0 it is behind."""
        self.ahead = int(days * DAY)

    def let_pass(self, days: float) -> None:
        """Let time pass, which both clocks count."""
        self.passed += int(days * DAY)
