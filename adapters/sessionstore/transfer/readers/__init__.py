"""Readers of what other libraries have stored."""

from sessionstore.transfer.readers.unreadable import SourceError, Unreadable

__all__ = ["SourceError", "Unreadable"]
