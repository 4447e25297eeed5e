"""What the flows of `RedisSessionStore` ask for, and what they are given: a request and its reply.

A flow yields a request, and `sessionstore.redis.clients.Clients` carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

import msgspec

from sessionstore.flow import Flow

__all__ = ["WAIT", "Command", "Probe", "RedisFlow", "Reply", "Request", "Transaction", "Words"]

T = TypeVar("T")

WAIT = "WAIT"
"""The command that, last of several, asks how many replicas have them."""


class Words(tuple[Any, ...]):
    """The words of a command, which are in the frames of every error of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Tell how many there are: never what is written."""
        return f"<{len(self)} words>"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [len(self)]


class Command(msgspec.Struct, frozen=True):
    """One command.

    Attributes:
        key: A key by which a Cluster finds the node for it.
        words: Its words.
    """

    key: bytes
    words: Words

    def __repr__(self) -> str:
        """Tell which command it is: never what is written."""
        return f"{type(self).__name__}({self.words[0]}, {self.words!r})"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich, whose tracebacks go into logs, no more than `repr` does."""
        return [self.words[0], self.words]


class Transaction(msgspec.Struct, frozen=True):
    """Commands that are carried out as one, on one machine.

    Attributes:
        commands: The words of each.
    """

    commands: tuple[Words, ...]

    def __repr__(self) -> str:
        """Tell which commands they are: never what is written."""
        return f"Transaction({', '.join(str(words[0]) for words in self.commands)})"

    def __rich_repr__(self) -> list[Any]:
        """Tell Rich no more than `repr` does."""
        return [words[0] for words in self.commands]


class Probe(NamedTuple):
    """A command that goes by a connection of its own: past those that are all in use, or dead."""

    command: Command


Request: TypeAlias = Sequence[Command] | Transaction | Probe
"""Commands go in one round trip to each node. None at all lets go of idle connections."""

Reply: TypeAlias = list[Any]
"""For each command what Redis replied, or its error; that of a single one is raised.

It is empty for a transaction where there are none: then nothing was done.
"""

RedisFlow: TypeAlias = Flow[Request, Reply, T]
"""An operation on Redis, or a part of one."""
