"""Files of JSON, of which the parts are decoded when they are asked for."""

from __future__ import annotations

import mmap
import os
from datetime import datetime, timezone
from typing import Any

import msgspec

from sessionstore.transfer.readers.unreadable import SourceError

__all__ = ["decoded_file", "file_time"]


def decoded_file(path: str | os.PathLike[str], form: Any, why_not: str) -> Any:
    """Decode a file of JSON into what has `msgspec.Raw` for its parts.

    The file is mapped, not read: it takes no memory of the process.

    Args:
        path: The file.
        form: The type that it is to have.
        why_not: What to say where it does not.

    Returns:
        Its content.

    Raises:
        SourceError: It is no JSON of that type.
        OSError: The file can't be read.
    """
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise SourceError(why_not)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        return msgspec.json.decode(mapped, type=form)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # it may quote the data, so that it must be no part of the error's chain
    raise SourceError(why_not)


def file_time(path: str | os.PathLike[str]) -> datetime:
    """Give when a file was last changed."""
    return datetime.fromtimestamp(os.stat(path).st_mtime, timezone.utc)
