"""Whether a user of Redis may run all that the scripts of `RedisSessionStore` need.

Redis does not undo a script that is refused a command half way. So the first write of a store asks
before: an ACL that lacks a command, such as one that a newer version needs, writes nothing.
"""

from __future__ import annotations

from sessionstore.errors import SessionStoreError
from sessionstore.redis import scripts
from sessionstore.redis.calls import Call
from sessionstore.redis.errors import not_permitted
from sessionstore.redis.requests import WAIT, Command, RedisFlow, Words

__all__ = ["require_permission"]


def require_permission(head: bytes, *, waits: bool) -> RedisFlow[None]:
    """Refuse a write that its user's permissions would end half way.

    Args:
        head: The first key of the session that is written.
        waits: Whether replicas are waited for, too.

    Raises:
        SessionStoreError: The user's ACL lacks a command that the scripts need.
    """
    keys = (head + b":typed", head + b":absent")
    commands = [Call.of(scripts.PROBE, keys, ()).by_text()]
    if waits:
        commands.append(Command(keys[0], Words((WAIT, b"0", b"1"))))
    replies = yield commands
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    if replies[0]:
        raise SessionStoreError(not_permitted(name.decode() for name in replies[0]))
