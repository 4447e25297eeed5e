"""Ctrl-C again and again: at any moment of a call, and at no other."""

from __future__ import annotations

import _thread
import logging
import random
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType


class Bombarded:
    """Calls what it is given, and breaks it off as Ctrl-C does, at random moments.

    What its own thread sends is another signal, whose handler sees where the main thread is: one
    that comes late, on a busy machine, would else hit the test.

    Args:
        pause: The longest pause between two, in seconds.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self._left = 0
        self._firing = True
        signal.signal(signal.SIGUSR1, self._hit)
        self._thread = threading.Thread(target=self._fire, daemon=True)
        self._thread.start()

    def breaks_off(self, call: Callable[[], object], most: int) -> bool:
        """Call, interrupted up to so many times; tell whether it was broken off."""
        self._left = most
        try:
            self._call(call)
        except KeyboardInterrupt:
            return True
        return False

    def stop(self) -> None:
        self._firing = False
        self._thread.join()

    def _call(self, call: Callable[[], object]) -> None:
        call()

    def _fire(self) -> None:
        while self._firing:
            time.sleep(random.random() * self._pause)  # noqa: S311 - no secret
            _thread.interrupt_main(signal.SIGUSR1)

    def _hit(self, _: int, frame: FrameType | None) -> None:
        at = frame
        while at is not None and at.f_code is not Bombarded._call.__code__:
            if at.f_code.co_filename == logging.__file__:
                return  # Python would leave its lock of all loggers held
            at = at.f_back
        handler = signal.getsignal(signal.SIGINT)  # not Python's own where a store holds it back
        if at is not None and self._left and callable(handler):
            self._left -= 1
            handler(signal.SIGINT, frame)
