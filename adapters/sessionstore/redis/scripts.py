"""The Lua scripts of `RedisSessionStore`: each operation is one, so that it is atomic.

They lie in the folder ``lua``: one file a script, and files that several scripts have in front of
their own text, where each says what it needs.

A session is a few keys with one hash tag, and so in one slot: a hash with its head, a list of its
messages, and a hash from each message's id to its position. Positions count on from the head's
`first`, so that to delete what is near either end moves no other message; what is deleted between
others leaves its position in a sorted set of gaps, which is not there while it is empty, and goes
when it has outgrown the messages: then these are numbered again. JSON is never rewritten here:
Lua's would bring numbers and empty lists back as something else. Two more outlive the session, but
for a minute only: the record of the newest writes, by which a write that comes a second time is
known, whoever sent it again, also when the session was deleted or made again meanwhile; and what
the newest deletes of messages have answered.

An index is a sorted set of ``id/agent/user`` by last activity, each part percent-encoded. On one
machine the same script writes it; under Cluster it lives in another slot, and has its own scripts.

Every script reads all that it depends on before it writes: Redis does not undo a script that fails.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from pkgutil import get_data
from typing import NamedTuple

__all__ = [
    "APPEND",
    "CREATE",
    "DELETE",
    "DROP",
    "GET",
    "LAST",
    "LIST",
    "OLDEST",
    "PAGE",
    "PEEK",
    "PING",
    "PROBE",
    "PRUNE",
    "READ",
    "REMOVE",
    "REPLACE",
    "SETTLE",
    "TOUCH",
    "UPDATE",
    "Script",
]


class Script(NamedTuple):
    """A script's text, and the hash that it is called by."""

    text: bytes
    sha: bytes


@lru_cache
def _file(name: str) -> bytes:
    return get_data(__name__, f"lua/{name}.lua") or b""


def _script(*names: str) -> Script:
    """Put files together, the one that the others are needed for last."""
    text = b"\n".join(map(_file, names))
    return Script(text, sha1(text).hexdigest().encode())  # noqa: S324 - Redis's own choice


_WRITE = ("record", "find", "forget", "enter", "write")
_LOOK = ("plain", "forget", "look")

GET = _script("tail", "get")
LAST = _script("tail", "last")
READ = _script("find", "place", "read")
CREATE = _script(*_WRITE, "state", "new", "create")
APPEND = _script(*_WRITE, "new", "append")
REPLACE = _script(*_WRITE, "place", "replace")
UPDATE = _script(*_WRITE, "state", "json", "update")
REMOVE = _script(*_WRITE, "place", "remove")
DELETE = _script(*_WRITE, "delete")
SETTLE = _script("record", "settle")
PROBE = _script("probe")
PING = _script("ping")

# Of indexes on one machine: they look at the sessions, and forget those that are gone.
LIST = _script(*_LOOK, "list")
PRUNE = _script(*_LOOK, "prune")

# Of indexes under Cluster: each knows one index, or one session.
PAGE = _script("plain", "page")
OLDEST = _script("plain", "oldest")
PEEK = _script("peek")
TOUCH = _script("enter", "touch")
DROP = _script("drop")
