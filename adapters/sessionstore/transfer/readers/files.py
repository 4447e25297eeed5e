"""Files: of JSON, whose parts are decoded when they are asked for, and of SQLite."""

from __future__ import annotations

import mmap
import os
import sqlite3
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sessionstore.transfer.readers.unreadable import SourceError

__all__ = ["decoded_file", "file_time", "read_only"]


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


def read_only(file: str | os.PathLike[str]) -> sqlite3.Connection:
    """Open a SQLite file for reading only; text of it that is not UTF-8 is not valid, but read.

    To open one for writing would make a missing file, and a journal beside one that is there.
    """
    place = Path(file).absolute().as_uri()
    connection = sqlite3.connect(f"{place}?mode=ro", uri=True)
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    return connection
