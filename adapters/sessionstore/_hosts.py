"""What no URL may have in it: hosts that no system looks up, and text that no server is sent.

A driver would raise a `UnicodeError` for them when it connects, whose ``object`` is the password.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["BAD_HOST", "BAD_TEXT", "are_texts", "is_host", "shown_option"]

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
    """Give what an error shows of an option that nobody knows.

    Args:
        name: The option.
        among: All options beside it: an ``&`` in a password makes one of what follows.
    """
    if any("password" in one for one in among):
        return "that is here; in a password & is %26"
    return repr(name[:40])
