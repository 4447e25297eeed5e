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
the newest deletes of messages have answered. A third outlives it for longer: the hash of its lease,
until a day after that has run out, so that tokens only grow, also where the clock is set back.

An index is a sorted set of ``id/agent/user`` by last activity, each part percent-encoded. On one
machine the same script writes it; under Cluster it lives in another slot, and has its own scripts.

Every script reads all that it depends on before it writes: Redis does not undo a script that fails.
Several operations on one session are a script, too, in which each of them is a function; there,
what others follow is written so that it can be undone.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha1
from pkgutil import get_data
from typing import NamedTuple

__all__ = [
    "ACQUIRE",
    "APPEND",
    "CREATE",
    "DELETE",
    "DROP",
    "FENCE",
    "FORK",
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
    "RELEASE",
    "REMOVE",
    "RENEW",
    "REPLACE",
    "RESEAL",
    "RESTORE",
    "REWIND",
    "SCRUB",
    "SETTLE",
    "TOUCH",
    "UNDO",
    "UPDATE",
    "Script",
    "several",
    "texts",
]


class Script(NamedTuple):
    """A script's text, the hash that it is called by, and the name of its own file."""

    text: bytes
    sha: bytes
    name: bytes


@lru_cache
def _file(name: str) -> bytes:
    return get_data(__name__, f"lua/{name}.lua") or b""


def _script(*names: str) -> Script:
    """Put files together, the one that the others are needed for last."""
    return _of_text(b"\n".join(map(_file, names)), names[-1])


def _of_text(text: bytes, name: str) -> Script:
    sha = sha1(text).hexdigest()  # noqa: S324 - Redis's own choice
    return Script(text, sha.encode(), name.encode())


@lru_cache(1024)
def several(scripts: frozenset[Script]) -> Script:
    """Make one script of several, each of which is a function in it.

    One with all of them would take as long to make those that nobody calls as a command takes.

    Args:
        scripts: Those of operations on a session; with `UNDO` among them they can be undone.
    """
    functions = b",\n".join(
        b"%s = function(KEYS, ARGV, redis)\n%s\nend" % (script.name, script.text)
        for script in sorted(scripts)
    )
    parts = (_file("record"), b"local each = {", functions, b"}", _file("several"))
    return _of_text(b"\n".join(parts), "several")


_WRITE = ("record", "find", "forget", "enter", "many", "write")
_LOOK = ("plain", "forget", "look")
_LEASE = ("record", "held", "lease")

GET = _script("tail", "get")
LAST = _script("tail", "last")
READ = _script("find", "place", "read")
CREATE = _script(*_WRITE, "state", "new", "create")
RESTORE = _script(*_WRITE, "state", "restore")
APPEND = _script(*_WRITE, "new", "append")
REPLACE = _script(*_WRITE, "place", "replace")
UPDATE = _script(*_WRITE, "state", "json", "update")
REMOVE = _script(*_WRITE, "place", "answers", "remove")
REWIND = _script(*_WRITE, "place", "answers", "rewind")
DELETE = _script(*_WRITE, "delete")
RESEAL = _script(*_WRITE, "place", "reseal")
FORK = _of_text(
    b"\n".join(
        (
            *map(_file, (*_WRITE, "state", "json")),
            b"local function source_of(KEYS, at)",
            *map(_file, ("find", "place", "source")),
            b"end",
            _file("fork"),
        )
    ),
    "fork",
)
ACQUIRE = _script(*_LEASE, "acquire")
RENEW = _script(*_LEASE, "renew")
RELEASE = _script(*_LEASE, "release")
FENCE = _script("held", "fence")
UNDO = _script("many", "undo")
SETTLE = _script("record", "settle")
PROBE = _script("probe")
PING = _script("ping")
SCRUB = _script("scrub")

# Of indexes on one machine: they look at the sessions, and forget those that are gone.
LIST = _script(*_LOOK, "preview", "list")
PRUNE = _script(*_LOOK, "prune")

# Of indexes under Cluster: each knows one index, or one session.
PAGE = _script("plain", "page")
OLDEST = _script("plain", "oldest")
PEEK = _script("preview", "peek")
TOUCH = _script("enter", "touch")
DROP = _script("drop")


def texts() -> list[bytes]:
    """Give the texts of those that operations are, each of which is called by itself."""
    return [one.text for one in globals().values() if isinstance(one, Script)]
