"""An operation on a session as what is sent for it, alone or with others, and as its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from sessionstore.redis.refusals import REFUSALS, refuse
from sessionstore.redis.requests import Reply, Words
from sessionstore.redis.scripts import Script

__all__ = ["Step"]


class Step(msgspec.Struct, frozen=True):
    """What carries an operation out.

    Attributes:
        operation: The operation.
        script: The script.
        args: What the script is given beyond what each read, or each write, is.
        read: Makes the result of the operation and the script's reply.
        message: The id of the message that it is about, if there is one.
    """

    operation: Any
    script: Script
    args: Words
    read: Callable[[Any, Reply], Any]
    message: str | None = None

    def judged(self, reply: Reply) -> tuple[Step, Reply]:
        """Raise what a reply refuses; give what was done, and the reply to it."""
        if reply[0] in REFUSALS:
            refuse(reply, self.operation, self.message)
        return self, reply

    def result(self, reply: Reply) -> Any:
        """Give the operation's result."""
        return self.read(self.operation, reply)
