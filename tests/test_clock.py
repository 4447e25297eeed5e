"""The clock of stores without a server, while somebody sets the machine's."""

from __future__ import annotations

import time

import pytest

from sessionstore._runtime.clock import Clock, steady_microseconds

SECOND = 1_000_000
DAY = 86_400 * SECOND
START = 20_000 * DAY


class SetClock(Clock):
    """A clock whose time passes, and is set, by hand."""

    def __init__(self) -> None:
        self._wall, self._steady = START, 7 * DAY
        super().__init__()
        self.wall, self.steady = lambda: self._wall, lambda: self._steady
        self._seen = self._seen._replace(lead=self._wall - self._steady)

    def let_pass(self, microseconds: int) -> None:
        self._wall += microseconds
        self._steady += microseconds

    def set_by(self, microseconds: int) -> None:
        self._wall += microseconds


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def test_a_clock_that_nobody_sets_expires_by_the_time_that_passed(clock: SetClock) -> None:
    written = clock.now()
    clock.let_pass(DAY)
    assert clock.oldest_live(DAY) == written
    clock.let_pass(1)
    assert clock.oldest_live(DAY) == written + 1
    assert clock.oldest_live(None) == 0


def test_a_stamp_is_later_than_the_newest_in_the_store(clock: SetClock) -> None:
    newest = clock.now()
    clock.set_by(-2 * DAY)
    assert clock.stamp(newest) == newest + 1
    assert clock.now() == START - 2 * DAY


@pytest.mark.parametrize("days", [-365, -2, 2, 365])
def test_no_live_session_expires_by_a_jump_nor_when_it_is_taken_back(
    clock: SetClock, days: int
) -> None:
    before = clock.now()
    clock.set_by(days * DAY)
    during = clock.stamp(before)
    assert clock.oldest_live(DAY) <= min(before, during)
    clock.set_by(-days * DAY)
    after = clock.stamp(max(before, during))
    assert clock.oldest_live(DAY) <= min(before, during, after)
    clock.let_pass(DAY)
    assert clock.oldest_live(DAY) <= before


def test_a_jump_that_stays_is_followed_after_the_retention(clock: SetClock) -> None:
    before = clock.now()
    clock.let_pass(DAY)
    clock.set_by(2 * DAY)
    during = clock.now()
    assert clock.oldest_live(DAY) <= before
    clock.let_pass(DAY)
    assert clock.oldest_live(DAY) <= during
    clock.let_pass(1)
    assert clock.oldest_live(DAY) == during + 1


def test_a_jump_counts_from_when_it_was_seen(clock: SetClock) -> None:
    """Another process wrote until just before it, while this one did nothing for long."""
    clock.let_pass(10 * DAY)
    written_by_another = clock.wall()
    clock.set_by(5 * DAY)
    assert clock.oldest_live(DAY) < written_by_another


def test_each_of_many_steps_is_remembered_and_the_smallest_counts(clock: SetClock) -> None:
    before = clock.now()
    for _ in range(1000):
        clock.set_by(10 * SECOND)
        clock.let_pass(SECOND)
        clock.oldest_live(DAY)
    assert clock.oldest_live(DAY) <= before
    assert len(clock._seen.former) <= 100
    clock.let_pass(DAY + SECOND)
    assert clock.oldest_live(DAY) == clock.wall() - DAY


def test_corrections_of_less_than_a_second_are_ignored(clock: SetClock) -> None:
    for step in (300_000, -700_000, 900_000, -100):
        clock.set_by(step)
        assert 0 <= clock.wall() - DAY - clock.oldest_live(DAY) <= SECOND
        assert clock._seen.former == ()


def test_the_steady_clock_goes_on_as_time_does() -> None:
    before, monotonic = steady_microseconds(), time.monotonic_ns() // 1000
    time.sleep(0.01)
    passed, really = steady_microseconds() - before, time.monotonic_ns() // 1000 - monotonic
    assert passed >= 10_000
    assert abs(passed - really) < SECOND
