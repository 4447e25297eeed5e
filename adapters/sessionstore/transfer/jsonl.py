"""The file of an export: its lines, written and read."""

from __future__ import annotations

from sessionstore.errors import SessionStoreError

__all__ = ["TransferFileError"]


class TransferFileError(SessionStoreError, ValueError):
    """A file is no export of sessions, is damaged, or was written by a newer version.

    Attributes:
        line: The line, counted from 1; ``None`` where it is none of them.
    """

    line: int | None = None
