"""Why a server could not be reached: the operating system's reason, out of a driver's error."""

from __future__ import annotations

import errno
import os
from socket import gaierror

__all__ = ["reason_of"]

_OF_SYSTEM = [
    os.strerror(getattr(errno, name))
    for name in (
        "ECONNREFUSED",
        "ECONNRESET",
        "ECONNABORTED",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETUNREACH",
        "ENOENT",
        "EPIPE",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
]
# Of systems, and of PostgreSQL's library: known words alone, since others may quote what is secret.
_OF_OTHERS = (
    "Name or service not known",
    "Name does not resolve",
    "nodename nor servname provided",
    "No address associated with hostname",
    "Temporary failure in name resolution",
    "Non-recoverable failure in name resolution",
    "getaddrinfo failed",
    "Connection closed by server",
    "server closed the connection unexpectedly",
)


def reason_of(error: BaseException) -> str:
    """Give the reason in a few words, or ``""`` where none is known. It holds nothing of the call.

    Args:
        error: A driver's error: its own causes are looked at, and then its text.
    """
    each: BaseException | None = error
    seen: set[int] = set()
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if isinstance(each, OSError) and (words := _of_system(each)):
            return words
        text = str(each)
        if words := next((words for words in (*_OF_OTHERS, *_OF_SYSTEM) if words in text), ""):
            return words
        each = each.__cause__ or each.__context__
    return ""


def _of_system(error: OSError) -> str:
    if isinstance(error, gaierror):
        return next((words for words in _OF_OTHERS if words in str(error)), "")
    # asyncio has the address in its words.
    return os.strerror(error.errno) if error.errno and error.errno in errno.errorcode else ""
