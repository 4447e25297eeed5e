"""What the flows of `RedisSessionStore` ask for, and what they are given: a request and its reply.

A flow yields a request, and `sessionstore.redis.clients.Clients` carries it out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from sessionstore.flow import Flow

__all__ = ["WAIT", "Command", "Probe", "RedisFlow", "Reply", "Request", "Transaction"]

T = TypeVar("T")

WAIT = "WAIT"
"""The command that, last of several, asks how many replicas have them."""


class Command(NamedTuple):
    """One command, and the key by which a Cluster finds the node for it."""

    key: bytes
    words: tuple[Any, ...]


class Transaction(NamedTuple):
    """Commands that are carried out as one, on one machine."""

    commands: tuple[tuple[Any, ...], ...]


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
