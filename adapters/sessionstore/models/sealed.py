"""What an encrypted store has sealed, known as such without its keys."""

from __future__ import annotations

from sessionstore._runtime.sealed import ENCRYPTION, is_sealed
from sessionstore.errors import DecryptionError
from sessionstore.models.classes import SessionMessage

__all__ = ["require_opened"]


def require_opened(message: SessionMessage) -> SessionMessage:
    """Refuse a message that was read without its keys: for others it would have said nothing.

    Args:
        message: What a store gave.

    Returns:
        The same.

    Raises:
        DecryptionError: It is sealed.
    """
    if message.extra and is_sealed(message.extra):
        error = DecryptionError(
            f"message {message.id!r} is encrypted, and was read without its keys: read it from "
            "EncryptedSessionStore(store, keys)"
        )
        error.key_id = str(message.extra[ENCRYPTION].get("key"))
        raise error
    return message
