"""Ctrl-C at any instruction of some modules."""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dis import opmap
from linecache import getline
from types import FrameType, ModuleType
from typing import Any

from sessionstore._runtime.interrupts import Deferred

_NOP = opmap["NOP"]
_POP_EXCEPT = opmap["POP_EXCEPT"]


@contextmanager
def interrupted_at(step: int, modules: Sequence[ModuleType]) -> Iterator[None]:
    """Raise at the n-th instruction of theirs.

    But not between a block that holds the lock and its end, where Python looks for no signal, nor
    where a Ctrl-C is held back, nor as an error is done with: it would be the context of all later
    ones then.
    """
    ours = {module.__file__ for module in modules}
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal left
        if frame.f_code.co_filename not in ours:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and not (
            _is_at_the_lock(frame) or _ends_an_except(frame) or _is_held_back()
        ):
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for this when tracing begins
    collects = gc.isenabled()
    gc.disable()  # what an earlier store's finalizer does is no step, and swallows what is raised
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        if collects:
            gc.enable()


def _is_at_the_lock(frame: FrameType) -> bool:
    number: int | None = frame.f_lineno  # None: what Python itself adds to leave a block
    line = "" if number is None else getline(frame.f_code.co_filename, number).strip()
    # From 3.13 on, what it adds has the number of the line that leaves the block.
    leaves = sys.version_info >= (3, 13) and line.startswith("return")
    # On 3.12, what is left of a loop that ends such a block is a NOP behind what the block covers.
    is_nop = frame.f_code.co_code[frame.f_lasti] == _NOP and sys.version_info >= (3, 11)
    return number is None or (line.startswith("with ") and "lock:" in line) or leaves or is_nop


def _ends_an_except(frame: FrameType) -> bool:
    """Tell whether what comes next, or right behind it, is no longer within an ``except``."""
    code, place = frame.f_code.co_code, frame.f_lasti
    return _POP_EXCEPT in code[place : place + 3 : 2]


def _is_held_back() -> bool:
    return isinstance(getattr(signal.getsignal(signal.SIGINT), "__self__", None), Deferred)
