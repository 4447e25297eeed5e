"""The URLs of stores: how they begin, and what none may have in it.

For a host that no system can look up, or text that no server can be sent, a driver would raise a
`UnicodeError` when it connects, whose ``object`` is the password.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BAD_HOST",
    "BAD_TEXT",
    "KNOWN",
    "REDIS_SCHEMES",
    "THREE_SLASHES",
    "are_texts",
    "is_host",
    "shown_option",
]

REDIS_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "redis+sentinel",
    "rediss+sentinel",
    "redis+cluster",
    "rediss+cluster",
)
"""The schemes of the URLs that name a Redis."""

KNOWN = (
    "memory:, sqlite:///FILE, postgresql://HOST, mysql://HOST, mariadb://HOST, "
    + ", ".join(f"{scheme}://" for scheme in REDIS_SCHEMES)
    + ", or another URL of SQLAlchemy"
)
"""The URLs that name a store, for an error."""

THREE_SLASHES = (
    "a file of SQLite has three slashes before its path, sqlite:///sessions.db, "
    "and four before an absolute one, sqlite:////var/lib/sessions.db"
)
"""What to say of a URL of SQLite, or of a path where a URL belongs."""

BAD_HOST = "its host is no name: a part between two dots is empty or too long"
BAD_TEXT = "no part of it may hold a NUL, or half of a surrogate pair"


def is_host(name: str) -> bool:
    """Tell whether a system may look up a name."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True


def are_texts(given: Iterable[object]) -> bool:
    """Tell whether a server can be sent all that is text among these."""
    try:
        return b"\0" not in b"".join(one.encode() for one in given if isinstance(one, str))
    except UnicodeEncodeError:
        return False


def shown_option(name: str, among: Iterable[str]) -> str:
    """Give what an error shows of an unknown option.

    Args:
        name: The option.
        among: All options beside it: an ``&`` in a password makes one of what follows.
    """
    if any("password" in one for one in among):
        return "that is here; in a password & is %26"
    return repr(name[:40])
