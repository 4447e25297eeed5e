"""What is wrong with data that is to be a message."""

from __future__ import annotations

__all__ = ["FormError"]


class FormError(ValueError):
    """Data is no message of the library whose it is said to be. The text quotes none of it."""
