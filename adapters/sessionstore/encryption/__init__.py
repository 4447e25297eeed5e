"""Sessions that no store, journal, cache or backup can read without their keys."""

try:
    from sessionstore.encryption.keys import KeysGiven, keys_in
except ImportError as _error:
    raise ImportError(
        "sessionstore.encryption needs the encryption extra: pip install 'sessionstore[encryption]'"
    ) from _error

from sessionstore.encryption.rotating import RotationReport
from sessionstore.encryption.store import EncryptedSessionStore

__all__ = ["EncryptedSessionStore", "KeysGiven", "RotationReport", "keys_in"]
