"""A process that halts in the midst of a write: it is killed there, or holds what it holds."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest

from sessionstore.models import SessionMessage
from sessionstore.operations import Append, Rewind
from sessionstore.store import SessionStore
from sessionstore.testing.modes import OpenStore
from sessionstore.testing.processes import afresh
from sessionstore.testing.samples import said

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SESSION", "WRITES", "Writers", "batch_of", "needs_fork", "spread"]

needs_fork: pytest.MarkDecorator = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="Windows has no fork"
)

SESSION = "s"
"""The session that the processes write to."""

_HALTED, _GAVE_UP, _ENDED = "halted", "gave up", "ended"
_PATIENCE = 60.0
_THEN = datetime(2025, 1, 1, tzinfo=timezone.utc)
# Their functions reach nothing outside of the process.
_PURE = {
    "builtins",
    "_thread",
    "_json",
    "_abc",
    "_contextvars",
    "_weakref",
    "_functools",
    "_random",
}
_PURE |= {
    "itertools",
    "collections",
    "time",
    "math",
    "operator",
    "re",
    "_sre",
    "_struct",
    "msgspec",
}


def batch_of(step: int) -> list[SessionMessage]:
    """Give what a process writes that halts at a step: more than a buffer holds."""
    text = "x" * 10_000
    return [said(text, f"{step}-{place}", created_at=_THEN) for place in range(3)]


WRITES: dict[str, Callable[[SessionStore, int], object]] = {
    "append": lambda store, step: store.append_messages(SESSION, batch_of(step)),
    "update": lambda store, step: store.update(SESSION, messages=batch_of(step)),
    "several": lambda store, step: store.run(
        [Append(SESSION, batch_of(step)[:1]), Append(SESSION, batch_of(step)[1:])]
    ),
    "fork": lambda store, step: store.fork(SESSION, f"fork {step}"),
    "rewind": lambda store, step: store.run(
        [Rewind(SESSION, "m0"), Append(SESSION, batch_of(step))]
    ),
}
"""What such a process may do."""


def spread(count: int, most: int) -> list[int]:
    """Give the steps 1 to ``count``, or so many of them, as far apart as they can be."""
    return [1 + place * count // min(count, most) for place in range(min(count, most))]


class Writers:
    """Processes that write, one after the other, each of which halts at a step of that.

    A step is a call of a function that may reach outside of the process, in C. Forked from a
    process that has done nothing else; used in a ``with`` block.

    Args:
        open_store: Opens the storage.
        patience: For how many seconds one halts until it goes on by itself.
        write: One of `WRITES`.

    Attributes:
        gave_up: Whether the last one that halted went on by itself.
    """

    gave_up: bool = False

    def __init__(
        self, open_store: OpenStore, patience: float = _PATIENCE, write: str = "append"
    ) -> None:
        """Start nothing yet."""
        context = afresh()
        self._pipe, self._far = context.Pipe()
        args = (self._far, open_store, patience, write)
        self._process: Any = context.Process(target=_fork_writers, args=args)  # type: ignore[attr-defined]

    def __enter__(self) -> Self:
        """Start the process that the others are forked from."""
        self._process.start()
        self._far.close()
        return self

    def __exit__(self, *error: object) -> None:
        """End it."""
        self._pipe.close()
        self._process.join(_PATIENCE)
        self._process.kill()

    def count_steps(self) -> int:
        """Let one write without a halt, and count its steps."""
        [count] = self._answers("count", 0)
        return int(count)

    def kill(self, step: int) -> None:
        """Let one be killed at a step, or live if it takes fewer."""
        for _ in self._answers("kill", step):
            pass

    @contextmanager
    def halted(self, step: int) -> Iterator[Callable[[], None]]:
        """Let one halt at a step, if it takes so many, until it may go on.

        Args:
            step: Where it halts.

        Yields:
            A function that lets it go on; the end of the block does so in any case, and waits.
        """
        self.gave_up = False
        answers = self._answers("halt", step)
        next(answers)
        try:
            yield self._go_on
        finally:
            self._go_on()
            self.gave_up = _GAVE_UP in list(answers)  # to their end

    def _go_on(self) -> None:
        self._pipe.send("go on")

    def _answers(self, how: str, step: int) -> Iterator[Any]:
        self._pipe.send((how, step))
        while True:
            assert self._pipe.poll(_PATIENCE), "a writer in another process does not come back"
            answer = self._pipe.recv()
            if isinstance(answer, Exception):
                raise answer
            if answer == _ENDED:
                return
            yield answer


# -- In the other processes -----------------------------------------------------------------------


def _fork_writers(pipe: Connection, open_store: OpenStore, patience: float, write: str) -> None:
    while True:
        try:
            order = pipe.recv()
        except EOFError:
            return
        if order == "go on":  # meant for one that has not waited for it
            continue
        writer = os.fork()
        if writer == 0:
            _write_and_exit(pipe, open_store, patience, write, order)
        os.waitpid(writer, 0)
        pipe.send(_ENDED)


def _write_and_exit(
    pipe: Connection, open_store: OpenStore, patience: float, write: str, order: tuple[str, int]
) -> None:
    how, step = order
    try:
        pipe.send(_write(open_store, write, step, lambda: _halt(pipe, how, patience)))
    except Exception as error:  # noqa: BLE001 - raised in the test
        pipe.send(error)
    finally:
        os._exit(0)


def _write(open_store: OpenStore, write: str, step: int, halt: Callable[[], None]) -> int:
    passed = 0

    def pass_step(_: FrameType, event: str, function: Any) -> None:
        nonlocal passed
        if event == "c_return" and _reaches_out(function):
            passed += 1
            if passed == step:
                sys.setprofile(None)
                halt()

    with open_store() as store:
        store.ping()
        sys.setprofile(pass_step)
        try:
            WRITES[write](store, step)
        finally:
            sys.setprofile(None)
    return passed


def _reaches_out(function: Any) -> bool:
    module = getattr(function, "__module__", None)
    if module is None:  # a method: its object's module counts
        module = type(getattr(function, "__self__", None)).__module__
    return module.partition(".")[0] not in _PURE


def _halt(pipe: Connection, how: str, patience: float) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    pipe.send(_HALTED)
    if pipe.poll(patience):
        pipe.recv()
    else:
        pipe.send(_GAVE_UP)
