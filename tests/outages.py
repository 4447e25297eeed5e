"""Writers that write on while their store's primary fails, and know what they were promised."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from itertools import count
from typing import Any

from servers.outage import Primary
from servers.process import wait_until

from sessionstore import FallbackSessionStore, SessionMessage, SessionStore, StoreBusyError
from sessionstore.flow import Flow, aplay, play

Fault = Callable[[Primary], AbstractContextManager[None]]
_PAUSE = 0.02
SHARED = "shared"


class Writers:
    """Writers that append to a session of their own each, and to one that all share.

    Every append has to be acknowledged, and each reader of a session of its own has to see what
    was: a fault of either kind ends the writer, and is reported by `stop`.
    """

    def __init__(self, store: FallbackSessionStore, number: int) -> None:
        self.acknowledged: list[list[str]] = [[] for _ in range(number)]
        self.faults: list[BaseException] = []
        self._store = store
        self._stopping = False
        self._threads: list[threading.Thread] = []

    def progress(self) -> None:
        """Wait until each writer has gone on, by a whole round at least."""
        goals = [len(acknowledged) + 4 for acknowledged in self.acknowledged]
        wait_until(
            lambda: (
                self.faults
                or all(len(a) >= g for a, g in zip(self.acknowledged, goals, strict=True))
            ),
            "writers go on",
            60,
        )
        self._raise_faults()

    def stop(self) -> None:
        self._stopping = True
        for thread in self._threads:
            thread.join()
        self._raise_faults()

    def _raise_faults(self) -> None:
        if self.faults:
            raise self.faults[0]

    def start_threads(self) -> None:
        for writer in range(len(self.acknowledged)):
            self._start(play, self._work(writer), self._send)

    def start_tasks(self) -> None:
        """Start the writers as tasks of one event loop, in a thread of its own."""

        async def everyone() -> None:
            writers = range(len(self.acknowledged))
            await asyncio.gather(*(aplay(self._work(writer), self._asend) for writer in writers))

        self._start(lambda: asyncio.run(everyone()))

    def _start(self, work: Callable[..., object], *arguments: object) -> None:
        def guarded() -> None:
            try:
                work(*arguments)
            except BaseException as fault:  # noqa: BLE001 - the test reports it
                self.faults.append(fault)

        self._threads.append(threading.Thread(target=guarded))
        self._threads[-1].start()

    # -- What a writer does, sync and async ------------------------------------------------------

    def _work(self, writer: int) -> Flow[Any, Any, None]:
        for number in count():
            if self._stopping:
                return
            ids = [f"{writer} {number} {place}" for place in "ab"]
            for session_id in (own(writer), SHARED):
                messages = [SessionMessage("user", "x", id=f"{session_id} {one}") for one in ids]
                added = yield "append_messages", session_id, messages
                assert added == 2, f"{ids} of {session_id}: {added} were added"
            self.acknowledged[writer] += ids
            seen = yield "get_messages", own(writer)
            expected = self.acknowledged[writer][-20:]
            found = [str(message.id) for message in seen][-20:]
            assert found == [f"{own(writer)} {one}" for one in expected], "own words are forgotten"
            yield None

    def _send(self, call: tuple[Any, ...] | None) -> Any:
        if call is None:
            return time.sleep(_PAUSE)
        name, *arguments = call
        while True:
            with suppress(StoreBusyError):  # others are in the way: the caller is to try again
                return getattr(self._store, name)(*arguments)

    async def _asend(self, call: tuple[Any, ...] | None) -> Any:
        if call is None:
            return await asyncio.sleep(len(self.acknowledged) * _PAUSE / 8)
        name, *arguments = call
        while True:
            with suppress(
                StoreBusyError
            ):  # as above; who never comes through is seen by `progress`
                return await getattr(self._store, f"a{name}")(*arguments)

    # -- What they were promised ------------------------------------------------------------------

    def require_all(self, primary: SessionStore) -> None:
        """Require each acknowledged message in the primary, once, in its session's order."""
        for writer, acknowledged in enumerate(self.acknowledged):
            stored = ids_in(primary, own(writer))
            assert stored == [f"{own(writer)} {one}" for one in acknowledged]
        together = ids_in(primary, SHARED)
        for writer, acknowledged in enumerate(self.acknowledged):
            mine = [one for one in together if one.startswith(f"{SHARED} {writer} ")]
            assert mine == [f"{SHARED} {one}" for one in acknowledged]
        assert len(together) == sum(map(len, self.acknowledged))
        # A batch is never split, however it got there.
        assert all(a[:-1] == b[:-1] for a, b in zip(together[::2], together[1::2], strict=True))


def own(writer: int) -> str:
    return f"own {writer}"


def ids_in(store: SessionStore, session_id: str) -> list[str]:
    return [str(message.id) for message in store.get_messages(session_id)]


@contextmanager
def at_work(store: FallbackSessionStore, kind: str) -> Iterator[Writers]:
    """Let 8 threads or 64 tasks write until the block ends."""
    writers = Writers(store, 8 if kind == "threads" else 64)
    getattr(writers, f"start_{kind}")()
    try:
        yield writers
    finally:
        writers._stopping = True
        for thread in writers._threads:
            thread.join()
    assert writers.faults == []


def survived(primary: Primary, faults: Sequence[Fault], kind: str) -> None:
    """Let the primary fail in each of these ways while writers write; require all they wrote."""
    callbacks: list[str] = []
    with FallbackSessionStore(
        primary.store(),
        retry_after=0.05,
        retry_cap=0.2,
        max_pending=1_000_000,
        on_fallback=lambda _: callbacks.append("down"),
        on_recover=lambda: callbacks.append("up"),
    ) as store:
        with at_work(store, kind) as writers:
            writers.progress()
            for fault in faults:
                before = store.stats().fallbacks
                with fault(primary):
                    wait_until(
                        lambda: store.is_degraded() or store.stats().fallbacks > before,  # noqa: B023
                        fault.__name__,
                    )
                    writers.progress()
                wait_until(lambda: not store.is_degraded(), f"recovers from {fault.__name__}")
                writers.progress()
        wait_until(store.recover, "every write is replayed")
        stats = store.stats()
        assert callbacks == ["down", "up"] * stats.fallbacks
        with primary.around() as around:
            writers.require_all(around)
        wait_until(partial(_is_all_told, writers, store), "the store tells what its primary holds")
    assert (store.pending(), store.rejected()) == ([], [])
    assert stats.fallbacks == stats.recoveries >= len(faults)
    assert stats.journaled == stats.replayed > 0


def _is_all_told(writers: Writers, store: FallbackSessionStore) -> bool:
    """Require all of the store, unless reading so much took longer than its primary may take."""
    before = store.stats()
    try:
        writers.require_all(store)
    except AssertionError:
        if store.stats().fallbacks == before.fallbacks and not store.is_degraded():
            raise
        return False
    return True
