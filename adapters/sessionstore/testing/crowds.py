"""Many callers at the same moment: each gets what it would get alone, and none waits for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from sessionstore.errors import (
    InvalidMessageError,
    SessionAccessError,
    SessionConflictError,
    SessionExistsError,
    SessionNotFoundError,
)
from sessionstore.models import SessionMessage
from sessionstore.operations import Get, GetMessages, Operation, Several
from sessionstore.store import SessionStore
from sessionstore.testing.concurrency import all_of, in_a_loop
from sessionstore.testing.modes import OpenStore, Stores, StoreSuite, attempt
from sessionstore.testing.samples import contents, conversation, ids, said

__all__ = ["CrowdContract"]

TASKS, THREADS = 64, 8
READERS, READS = 30, 20
_PATIENCE = 1000  # reads: whoever has not had a tenth of them by then starves
_SESSIONS = 12

_Failure = tuple[str, tuple[Any, ...], dict[str, Any], type[Exception]]
FAILURES: dict[str, _Failure] = {
    "conflict": (
        "append_messages",
        ("failed", [said("x")]),
        {"expected_version": 7},
        SessionConflictError,
    ),
    "another's": (
        "append_message",
        ("theirs", said("x")),
        {"user_id": "nobody"},
        SessionAccessError,
    ),
    "exists": ("create", ("theirs",), {}, SessionExistsError),
    "no session": ("update", ("failed",), {"metadata": {"a": 1}}, SessionNotFoundError),
    "no message": ("replace_message", ("theirs", said("x", "none")), {}, SessionNotFoundError),
    "bad input": (
        "append_messages",
        ("failed", [said("x"), said("y", metadata={"a": object()})]),
        {},
        InvalidMessageError,
    ),
}
"""What one of many does, and how it fails: its method, the arguments, and the error."""


class CrowdContract(StoreSuite):
    """A store may carry out together what is under way together: nobody is to notice."""

    @pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
    def test_one_of_many_threads_fails_alone(self, stores: Stores, failure: _Failure) -> None:
        """One of them fails, in each way: the others' messages are kept, and its own are not."""
        store = stores.open()
        store.append_message("theirs", said("first", "m"), user_id="somebody")
        before = store.get("theirs")
        method, args, kwargs, error = failure

        def fail() -> object:
            return attempt(lambda: getattr(store, method)(*args, **kwargs), error)

        works: list[Callable[[], object]] = [
            partial(store.append_messages, f"s{number % 5}", [said("x", f"{number}")])
            for number in range(THREADS - 1)
        ]
        outcomes = stores.at_once(*works[:3], fail, *works[3:])
        assert isinstance(outcomes.pop(3), error)
        assert outcomes == [1] * (THREADS - 1)
        kept = [message for n in range(5) for message in store.get_messages(f"s{n}")]
        assert sorted(map(str, ids(kept))) == [f"{number}" for number in range(THREADS - 1)]
        assert store.get("theirs") == before
        assert store.get("failed") is None

    @pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
    def test_one_of_many_tasks_fails_alone(self, open_store: OpenStore, failure: _Failure) -> None:
        """The same, in the tasks of one loop."""
        method, args, kwargs, error = failure

        async def main(store: SessionStore) -> None:
            await store.aappend_message("theirs", said("first", "m"), user_id="somebody")
            before = await store.aget("theirs")
            works: list[Any] = [
                store.aappend_message(f"s{number}", said("x")) for number in range(TASKS - 1)
            ]
            works.insert(TASKS // 2, getattr(store, f"a{method}")(*args, **kwargs))
            outcomes = await asyncio.gather(*works, return_exceptions=True)
            assert isinstance(outcomes.pop(TASKS // 2), error)
            assert outcomes == [1] * (TASKS - 1)
            reads = [partial(store.aget_messages, f"s{number}") for number in range(TASKS - 1)]
            assert list(map(contents, await all_of(reads))) == [["x"]] * (TASKS - 1)
            assert await store.aget("theirs") == before
            assert await store.aget("failed") is None

        in_a_loop(open_store, main)

    def test_each_of_many_reads_gets_what_it_asked_for(self, open_store: OpenStore) -> None:
        """Of every kind, on sessions of other lengths: the same as when it is alone."""

        async def main(store: SessionStore) -> None:
            for number in range(_SESSIONS):
                messages = [SessionMessage("system", "Be brief.", id="m"), *conversation(number)]
                await store.acreate(f"s{number}", user_id=f"u{number % 2}", messages=messages)
            asked = [read for number in range(_SESSIONS) for read in _reads_of(number)]
            alone = [await store.arun(read) for read in asked]
            for _ in range(3):
                assert await all_of([partial(store.arun, read) for read in asked]) == alone

        in_a_loop(open_store, main)

    def test_every_second_caller_is_cancelled(self, open_store: OpenStore) -> None:
        """Those who stay are answered; those who go took effect or never will: guarantee 9."""
        self.require_support("cancellation")

        async def main(store: SessionStore) -> None:
            for turns in (0, 1, 2, 5, 20, 100):
                await _half_cancelled(store, turns)

        in_a_loop(open_store, main)

    def test_tasks_that_read_without_a_pause_starve_nobody(self, open_store: OpenStore) -> None:
        """30 read at once: the slowest is answered at least a tenth as often as the fastest.

        The system may keep any of them waiting for a while, so that they go on until it is so.
        """

        async def main(store: SessionStore) -> None:
            for number in range(3):
                await store.aappend_messages(f"s{number}", conversation(20))
            answers = [0] * READERS
            await all_of([partial(_reads, store, number, answers) for number in range(READERS)])
            assert _is_fair(answers)

        in_a_loop(open_store, main)


def _reads_of(number: int) -> list[Operation[Any]]:
    session_id, owner = f"s{number}", f"u{number % 2}"
    near = f"m{number // 2}" if number else "m"
    return [
        Get(session_id, 3, owner),
        Get(session_id, 0),
        Get(session_id),
        GetMessages(session_id, 3),
        GetMessages(session_id, 3, user_id=owner, keep_system=True),
        GetMessages(session_id, 3, after=""),
        GetMessages(session_id, 3, after=near),
        GetMessages(session_id, 3, before=near),
        GetMessages(session_id),
        Several([Get(session_id, 2), GetMessages(session_id, 2, after="")]),
    ]


async def _reads(store: SessionStore, number: int, answers: list[int]) -> None:
    while answers[number] < READS or not (_is_fair(answers) or max(answers) >= _PATIENCE):
        assert len(await store.aget_messages(f"s{number % 3}", limit=20)) == 20
        answers[number] += 1
        await asyncio.sleep(0)  # a store that never waits would let nobody else begin


def _is_fair(answers: list[int]) -> bool:
    return min(answers) >= max(answers) / 10


async def _half_cancelled(store: SessionStore, turns: int) -> None:
    """Let all write, and cancel every second one after so many turns of the loop."""
    names = [f"{turns} {number}" for number in range(TASKS)]
    session_id = f"s{turns}"
    calls = [
        asyncio.ensure_future(store.aappend_message(session_id, said("x", name))) for name in names
    ]
    for _ in range(turns):
        await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.wait(calls[::2])
    settled = ids(await store.aget_messages(session_id))
    await asyncio.wait(calls)
    kept = ids(await store.aget_messages(session_id))
    for name, call in zip(names, calls, strict=True):
        assert call.cancelled() or (call.result() == 1 and name in kept)
    assert not any(call.cancelled() for call in calls[1::2])
    late = (set(kept) - set(settled)) & set(names[::2])
    assert not late, "one that was cancelled landed when its caller had been told"
