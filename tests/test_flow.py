from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from sessionstore.flow import Flow, aplay, play

Drive = Callable[[Flow[Any, Any, Any], Callable[[Any], Any]], Any]


def drive_async(flow: Flow[Any, Any, Any], send: Callable[[Any], Any]) -> Any:
    async def asend(request: Any) -> Any:
        await asyncio.sleep(0)
        return send(request)

    return asyncio.run(aplay(flow, asend))


@pytest.fixture(params=[play, drive_async], ids=["sync", "async"])
def drive(request: pytest.FixtureRequest) -> Drive:
    found: Drive = request.param
    return found


def test_each_request_gets_its_reply_in_order(drive: Drive) -> None:
    def flow() -> Flow[Any, Any, list[int]]:
        first = yield 1
        second = yield first + 1
        return [first, second]

    assert drive(flow(), lambda request: request * 10) == [10, 110]


def test_a_flow_without_requests_returns_its_result(drive: Drive) -> None:
    def flow() -> Flow[Any, Any, str]:
        yield from ()
        return "done"

    assert drive(flow(), pytest.fail) == "done"


def test_an_error_of_a_request_is_raised_where_the_flow_yielded(drive: Drive) -> None:
    def flow() -> Flow[Any, Any, str]:
        try:
            yield "refused"
        except KeyError as error:
            return f"handled {error.args[0]}, then {(yield 'accepted')}"
        return "not reached"

    def send(request: str) -> str:
        if request == "refused":
            raise KeyError(request)
        return request.upper()

    assert drive(flow(), send) == "handled refused, then ACCEPTED"


def test_an_error_of_a_request_that_the_flow_does_not_catch_is_raised_unchanged(
    drive: Drive,
) -> None:
    error = KeyError("x")

    def send(_: object) -> None:
        raise error

    def flow() -> Flow[Any, Any, None]:
        yield 1

    with pytest.raises(KeyError) as caught:
        drive(flow(), send)
    assert caught.value is error


def test_an_error_of_the_flow_is_raised(drive: Drive) -> None:
    def flow() -> Flow[Any, Any, None]:
        yield 1
        raise ValueError("of the flow")

    with pytest.raises(ValueError, match="of the flow"):
        drive(flow(), lambda request: request)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_an_interruption_ends_the_flow(drive: Drive, kind: type[BaseException]) -> None:
    ended = []

    def flow() -> Flow[Any, Any, None]:
        try:
            yield 1
        except Exception:  # noqa: BLE001 - this must not catch it
            ended.append("caught")
        finally:
            ended.append("closed")

    def send(_: object) -> None:
        raise kind

    with pytest.raises(kind):
        drive(flow(), send)
    assert ended == ["closed"]


def test_a_cancelled_task_ends_its_flow() -> None:
    ended = []

    def flow() -> Flow[Any, Any, None]:
        try:
            yield 1
        finally:
            ended.append("closed")

    async def main() -> None:
        async def never(_: object) -> None:
            await asyncio.Event().wait()

        task = asyncio.ensure_future(aplay(flow(), never))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == ["closed"]

    asyncio.run(main())


def test_a_finished_flow_keeps_no_reference_to_an_error() -> None:
    class SentError(Exception):
        """One to which a weak reference can be made."""

    sent: list[weakref.ref[SentError]] = []

    def send(_: object) -> None:
        error = SentError()
        sent.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    def flow() -> Flow[Any, Any, None]:
        yield 1

    gc.disable()
    try:
        with suppress(SentError):
            play(flow(), send)
        assert sent[0]() is None
    finally:
        gc.enable()
