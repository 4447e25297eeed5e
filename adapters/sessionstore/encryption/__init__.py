"""Sessions that no store, journal, cache or backup can read without their keys."""

try:
    from sessionstore.encryption.keys import Keys, KeysGiven, keys_in
except ImportError as _error:
    raise ImportError(
        "EncryptedSessionStore needs the encryption extra: pip install 'sessionstore[encryption]'"
    ) from _error

from sessionstore.encryption.rotating import RotationReport
from sessionstore.encryption.store import EncryptedSessionStore

__all__ = ["EncryptedSessionStore", "Keys", "KeysGiven", "RotationReport", "keys_in"]
