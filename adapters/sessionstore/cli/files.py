"""Files that commands write: whole or not at all, and the user's alone."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

__all__ = ["write_private"]


def write_private(file: Path, content: bytes) -> None:
    """Write a file that nobody but the user can read, in place of one that may be there.

    Args:
        file: The file.
        content: All of it.

    Raises:
        OSError: It can't be written; what was there is left as it was.
    """
    if file.exists() and not file.is_file():  # a device, a pipe
        file.write_bytes(content)
        return
    folder = file.absolute().parent
    if not folder.is_dir():  # else the error would name the draft
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(folder))
    handle, draft = tempfile.mkstemp(prefix=f".{file.name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as made:
            made.write(content)
        os.replace(draft, file)
    except BaseException:
        os.unlink(draft)
        raise
