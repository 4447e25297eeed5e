"""Ctrl-C while a store is at work: guarantee 9, for the plain methods."""

from __future__ import annotations

import faulthandler
import gc
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import islice
from tempfile import TemporaryFile
from types import FrameType
from typing import TypeVar

import pytest

from sessionstore.errors import SessionExistsError, SessionNotFoundError
from sessionstore.operations import AcquireLease, ReleaseLease
from sessionstore.store import SessionStore
from sessionstore.testing.changes import Change, changes, content
from sessionstore.testing.modes import OpenStore, StoreSuite
from sessionstore.testing.samples import conversation, said
from sessionstore.testing.volume import least

__all__ = ["InterruptContract"]

T = TypeVar("T")

ROUNDS = 120
_PATIENCE = 30.0
_MOMENT = 20e-6  # seconds


class InterruptContract(StoreSuite):
    """A call that Ctrl-C breaks off leaves all or nothing, and nothing held.

    It is no part of `SessionStoreConformance`: there are drivers that Ctrl-C ends the process in,
    as hiredis 3 does while it packs a command.
    """

    # Python swallows what is raised in a finalizer, such as SQLAlchemy's, and says so.
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that interrupts")
    def test_ctrl_c_leaves_all_or_nothing(self, open_store: OpenStore) -> None:
        """Whenever it comes: what is read next stays, and other threads go on."""
        with open_store() as store, ctrl_c() as during:
            store.append_message("other", said("hello", "m"))
            usual = least(lambda: store.append_message("other", said("again")), 5)
            for number, change in enumerate(islice(changes(), ROUNDS)):
                before = store.get("s")
                during(usual * (1 + number % 40) / 20, partial(_attempt, store, change))
                after = in_a_thread(lambda: store.get("s"))
                assert content(after) in (content(before), change.outcome(content(before)))
                version = 0 if before is None else before.version
                assert after is None or after.version in (1, version, version + change.versions)
                _require_consistent(store)
            assert in_a_thread(lambda: store.append_message("other", said("last"))) == 1

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that interrupts")
    def test_ctrl_c_leaves_a_fork_or_none(self, open_store: OpenStore) -> None:
        """Whenever it comes: the new session is whole or not there, and stays so."""
        with open_store() as store, ctrl_c() as during:
            log = conversation(30)
            store.append_messages("s", log)
            usual = least(lambda: store.fork("s"), 5)
            for number in range(ROUNDS // 2):
                new, at = f"fork {number}", 1 + number % 30
                fork = partial(store.fork, "s", new, at=f"m{at - 1}")
                during(usual * (1 + number % 40) / 20, fork)
                made = in_a_thread(partial(store.get, new))
                assert made is None or (made.messages, made.version) == (log[:at], 1)
                if made is None:
                    assert in_a_thread(fork).message_count == at
                assert in_a_thread(partial(store.get_messages, "s")) == log

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no timer that interrupts")
    def test_a_lease_whose_taking_ctrl_c_broke_off_can_be_given_back(
        self, open_store: OpenStore
    ) -> None:
        """Whenever it comes: nobody has it afterwards, and nobody is given it later."""
        self.require_support("leases")
        with open_store() as store, ctrl_c() as during:
            usual = least(lambda: store.run(AcquireLease("s", 600, holder="me")), 5)
            store.run(ReleaseLease("s", "me"))
            for number in range(ROUNDS // 4):
                asked = AcquireLease("s", 600, holder=str(number))
                during(usual * (1 + number % 40) / 20, partial(store.run, asked))
                for next_one in (
                    ReleaseLease("s", str(number)),
                    AcquireLease("s", 600, holder="me"),
                    ReleaseLease("s", "me"),
                ):
                    given = in_a_thread(partial(store.run, next_one))
                assert given is True


@contextmanager
def ctrl_c() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Give what calls something, and breaks it off after a while as Ctrl-C does."""
    armed = False

    def strike(_: int, frame: FrameType | None) -> None:
        nonlocal armed
        if armed and _is_no_moment(frame):
            signal.setitimer(signal.ITIMER_REAL, _MOMENT)
        elif armed:
            armed = False
            handler = signal.getsignal(signal.SIGINT)  # a store may hold it back for a moment
            if not callable(handler):
                raise KeyboardInterrupt
            handler(signal.SIGINT, frame)

    def during(seconds: float, call: Callable[[], object]) -> None:
        nonlocal armed
        try:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, seconds)
                call()
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass

    usual = signal.getsignal(signal.SIGINT)
    # As SIGINT is handled; a plug-in's own alarm goes on afterwards.
    handler, timer = signal.signal(signal.SIGALRM, strike), signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield during
        assert signal.getsignal(signal.SIGINT) == usual, "Ctrl-C is held back for ever"
    finally:
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)


def _is_no_moment(frame: FrameType | None) -> bool:
    """Tell whether Ctrl-C would be lost, or leave Python's own lock of all loggers held."""
    lost = {getattr(callback, "__code__", None) for callback in gc.callbacks}  # what they raise
    while frame is not None:
        if frame.f_code in lost or frame.f_code.co_filename == logging.__file__:
            return True
        frame = frame.f_back
    return False


def _attempt(store: SessionStore, change: Change) -> None:
    # The write that this one builds on was broken off, and so was never done.
    with suppress(SessionNotFoundError, SessionExistsError):
        getattr(store, change.method)(*change.args, **change.kwargs)


def _require_consistent(store: SessionStore) -> None:
    """Check that lists and sessions agree."""
    listed = {info.id: info for info in store.list_sessions().sessions}
    session = store.get("s")
    assert set(listed) == ({"s", "other"} if session else {"other"})
    if session is not None:
        assert listed["s"].message_count == session.message_count == len(session.messages)
        assert listed["s"].version == session.version
        assert store.get_messages("s") == session.messages


def in_a_thread(call: Callable[[], T]) -> T:
    """Call in another thread, which has to come back: nothing that it needs is left held."""
    results: list[T] = []
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            errors.append(error)

    thread = threading.Thread(target=guarded, daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if errors:
        raise errors[0]
    assert results, f"a call in another thread does not come back:\n{_where_all_wait()}"
    return results[0]


def _where_all_wait() -> str:
    with TemporaryFile("w+") as file:
        faulthandler.dump_traceback(file)
        file.seek(0)
        return file.read()
