"""What is called at a fork: in which order, for how long, and whatever else fails."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

import pytest

from sessionstore._runtime.forks import at_fork

pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


class Witness:
    """Takes note of when it was called."""

    def __init__(self, name: str, noted: list[str]) -> None:
        self.name = name
        self.noted = noted

    def before(self) -> None:
        self.noted.append(f"{self.name} before")

    def in_parent(self) -> None:
        self.noted.append(f"{self.name} in parent")

    def in_child(self) -> None:
        self.noted.append(f"{self.name} in child")

    def fail(self) -> None:
        self.noted.append(f"{self.name} fails")
        raise KeyboardInterrupt

    def watch(self) -> None:
        at_fork(before=self.before, in_parent=self.in_parent, in_child=self.in_child)


def forked(in_child: Callable[[], bool]) -> bool:
    """Tell what a function gives in a child."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = not in_child()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def test_methods_are_called_before_a_fork_and_after_it_on_both_sides() -> None:
    noted: list[str] = []
    witnesses = [Witness(name, noted) for name in "ab"]
    for witness in witnesses:
        witness.watch()
    assert forked(lambda: noted == ["b before", "a before", "a in child", "b in child"])
    assert noted == ["b before", "a before", "a in parent", "b in parent"]


def test_an_object_that_is_gone_is_called_no_more() -> None:
    noted: list[str] = []
    witness = Witness("a", noted)
    witness.watch()
    del witness
    gc.collect()
    assert forked(lambda: noted == [])
    assert noted == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_error_in_one_keeps_no_other_from_its_own() -> None:
    noted: list[str] = []
    first, failing, last = (Witness(name, noted) for name in "abc")
    first.watch()
    at_fork(before=failing.fail, in_parent=failing.fail, in_child=failing.fail)
    last.watch()
    before = ["c before", "b fails", "a before"]
    assert forked(lambda: noted == [*before, "a in child", "b fails", "c in child"])
    assert noted == [*before, "a in parent", "b fails", "c in parent"]
    Witness("d", noted).watch()  # the list of them is free


@pytest.mark.soak
def test_a_fork_waits_for_who_is_just_being_added() -> None:
    """Else a child could find the list of them held by a thread that it does not have."""
    noted: list[str] = []
    over = threading.Event()

    def add() -> None:
        while not over.is_set():
            for _ in range(100):
                Witness("a", noted).watch()
            time.sleep(0.001)

    def can_add() -> bool:
        Witness("b", noted).watch()
        return True

    threads = [threading.Thread(target=add) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert all(forked(can_add) for _ in range(20))
    finally:
        over.set()
        for thread in threads:
            thread.join()
