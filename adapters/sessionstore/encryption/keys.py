"""The keys of an `EncryptedSessionStore`: checked, named, and shown to nobody."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from inspect import isawaitable, iscoroutine, iscoroutinefunction
from typing import Any, NoReturn, TypeAlias

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessionstore._runtime.frames import hides_arguments
from sessionstore.errors import DecryptionError, InvalidSessionError, InvalidTypeError

__all__ = [
    "LONGEST_ID",
    "Key",
    "Keyring",
    "Keys",
    "KeysGiven",
    "KeysOfACall",
    "Keyset",
    "keys_in",
    "raws_of",
]

_KEY_BYTES = 32
_NONCE_BYTES = 12
LONGEST_ID = 64
"""Characters that the id of a key may have."""

Keyset: TypeAlias = bytes | Mapping[str, bytes] | Sequence[bytes]
"""One key of 32 bytes; or several by their ids, or in a list: the first seals, all open."""

KeysGiven: TypeAlias = Keyset | Callable[[str | None], Keyset | None]
"""A `Keyset`, or a function that gives a user's; ``None`` or a `KeyError` where there is none."""


class Key:
    """A key that seals and opens; only its id is to be seen.

    Args:
        key_id: What records call it.
        secret: Its 32 bytes.

    Attributes:
        id: What records call it.
    """

    __slots__ = ("_cipher", "id")

    @hides_arguments
    def __init__(self, key_id: str, secret: bytes) -> None:
        self.id: str = key_id
        self._cipher = AESGCM(secret)

    def __repr__(self) -> str:
        """Tell its id alone."""
        return f"Key({self.id!r})"

    def sealed(self, plain: bytes, about: bytes) -> str:
        """Seal something, under a nonce that is used once.

        Args:
            plain: What nobody is to read.
            about: What it belongs to: it opens with the same alone.

        Returns:
            Nonce, ciphertext and tag, in Base64.
        """
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, plain, about)
        text: str = msgspec.to_builtins(sealed)
        return text

    def opened(self, sealed: str, about: bytes) -> bytes | None:
        """Give what was sealed; ``None`` where this is not what was, or not about that."""
        with suppress(ValueError, msgspec.ValidationError):
            return self.opened_raw(raws_of([sealed])[0], about)
        return None

    def opened_raw(self, sealed: bytes, about: bytes) -> bytes | None:
        """Give what was sealed, whose Base64 `raws_of` has read: see `opened`."""
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], about)
        except (InvalidTag, ValueError):
            return None


def raws_of(sealed: list[str]) -> list[bytes]:
    """Read the Base64 of what was sealed.

    Args:
        sealed: What `Key.sealed` gave, of one or more.

    Raises:
        msgspec.ValidationError: One is something else.
        ValueError: One is no Unicode, as lenient readers of JSON give it.
    """
    return msgspec.convert(sealed, list[bytes])


class Keyring:
    """The keys that open what is sealed, and the one that seals.

    Args:
        keys: One or more.

    Attributes:
        first: The key that seals.
        by_id: All of them.
    """

    __slots__ = ("by_id", "first")

    def __init__(self, keys: Sequence[Key]) -> None:
        self.first: Key = keys[0]
        self.by_id: dict[str, Key] = {key.id: key for key in keys}

    def __repr__(self) -> str:
        """Tell the ids alone."""
        return f"Keyring({list(self.by_id)!r})"


class Keys:
    """Which keys a call goes by: the same for all, or those of its user.

    Args:
        given: What the caller gave.

    Attributes:
        are_of_users: Whether each user has keys of their own.

    Raises:
        InvalidSessionError: A key, or its id, is not valid.
        InvalidTypeError: It has the wrong type.
    """

    __slots__ = ("_function", "_ring", "are_of_users")

    @hides_arguments
    def __init__(self, given: KeysGiven) -> None:
        self.are_of_users: bool = callable(given)
        self._function: Callable[[str | None], Any] | None = None
        self._ring: Keyring | None = None
        if callable(given):
            _require_sync(given)
            self._function = given
        else:
            self._ring = _ring(given)

    def __repr__(self) -> str:
        """Tell the ids, or that it is a function."""
        return "Keys(<function>)" if self._ring is None else f"Keys({list(self._ring.by_id)!r})"

    def __copy__(self) -> Keys:
        """Give the same: nothing in it changes."""
        return self

    def __deepcopy__(self, memo: object) -> Keys:
        """Give the same."""
        return self

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled.

        Raises:
            TypeError: Always.
        """
        raise TypeError(
            "keys are not pickled: make the EncryptedSessionStore anew where it is used"
        )

    def of(self, user_id: str | None) -> Keyring:
        """Give the keys of a user.

        Args:
            user_id: The user; ``None`` for what is nobody's.

        Raises:
            DecryptionError: The function knows none.
            InvalidSessionError: What it gave is not valid.
            InvalidTypeError: The same.
        """
        return self._ring or _ring(self._asked(user_id))

    def _asked(self, user_id: str | None) -> Any:
        given = None
        if self._function is not None:
            with suppress(KeyError):
                given = self._function(user_id)
        if given is None:
            whose = "nobody (user_id=None)" if user_id is None else f"user {user_id!r}"
            raise DecryptionError(f"there is no key for {whose}: {_GONE}")
        return given


class KeysOfACall:
    """The keys of one call: each user's are asked for once, so that it opens what it has sealed.

    Args:
        keys: Where they are from.
    """

    __slots__ = ("_keys", "_rings")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._rings: dict[str | None, Keyring] = {}

    def of(self, user_id: str | None) -> Keyring:
        """Give the keys of a user: see `Keys.of`."""
        ring = self._rings.get(user_id)
        if ring is None:
            ring = self._rings[user_id] = self._keys.of(user_id)
        return ring


_GONE = "make one for a new user; if it was destroyed, what it sealed can't be read any more"


@hides_arguments
def keys_in(text: str) -> dict[str, bytes] | list[bytes]:
    """Read keys from text, as a file or a variable of the environment holds them.

    Example:
        >>> from sessionstore.encryption import keys_in
        >>> text = "2027: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
        >>> list(keys_in(text))
        ['2027']

    Args:
        text: A key a line, in Base64, be it the kind for URLs, the one that seals first; before
            each ``id:``, or before none. Lines that begin with ``#`` are left out.

    Returns:
        The keys by their ids, or in a list.

    Raises:
        InvalidSessionError: It holds none, or something else.
    """
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    named = [line.rpartition(":") for line in lines]
    ids = [key_id.strip() for key_id, _, _ in named]
    secrets = [_decoded(key.strip()) for _, _, key in named]
    if not secrets or None in secrets or len({bool(key_id) for key_id in ids}) > 1:
        raise InvalidSessionError(_LINES)
    found = [secret for secret in secrets if secret is not None]
    if not ids[0]:
        return found
    if len(set(ids)) < len(ids):
        raise InvalidSessionError("two keys have the same id: each needs one of its own")
    return dict(zip(ids, found, strict=True))


_LINES = (
    "keys are one a line, each 32 bytes in Base64, as openssl rand -base64 32 writes them, all "
    "with an id before them (2027: q83v…) or none"
)
_NOT_ASYNC = "the function that gives keys can't be async: sync calls call it, too"
_KINDS = "keys must be 32 bytes, a list of such, a dict of ids and such, or a function of the user"


def _decoded(text: str) -> bytes | None:
    with suppress(msgspec.ValidationError):
        key = msgspec.convert(text.translate(_URL_SAFE), bytes)
        return key if len(key) == _KEY_BYTES else None
    return None


_URL_SAFE = str.maketrans("-_", "+/")


def _require_sync(function: Callable[..., object]) -> None:
    called = getattr(function, "__call__", None)  # noqa: B004 - of an object, its method
    if iscoroutinefunction(function) or iscoroutinefunction(called):
        raise InvalidTypeError(_NOT_ASYNC)


@hides_arguments
def _ring(given: object) -> Keyring:
    if isinstance(given, Mapping):
        keys = [Key(_checked_id(key_id), _checked(key)) for key_id, key in given.items()]
    elif isinstance(given, (bytes, bytearray)):
        keys = [_nameless(given)]
    elif isinstance(given, (list, tuple)):
        keys = [_nameless(key) for key in given]
    elif isawaitable(given):
        if iscoroutine(given):
            given.close()
        raise InvalidTypeError(_NOT_ASYNC)
    else:
        raise InvalidTypeError(f"{_KINDS}, not {type(given).__name__}: {_MAKE}")
    if not keys:
        raise InvalidSessionError(f"{_KINDS}: none is given")
    return Keyring(keys)


def _nameless(given: object) -> Key:
    """Name a key by what nobody can tell it from."""
    key = _checked(given)
    return Key(sha256(b"sessionstore key id\0" + key).hexdigest()[:16], key)


def _checked(key: object) -> bytes:
    if not isinstance(key, (bytes, bytearray)):
        raise InvalidTypeError(f"a key must be 32 bytes, not {type(key).__name__}: {_MAKE}")
    if len(key) != _KEY_BYTES:
        raise InvalidSessionError(f"a key must be 32 bytes, not {len(key)}: {_MAKE}")
    return bytes(key)


_MAKE = "os.urandom(32) makes one, keys_in(text) reads them from Base64"


def _checked_id(key_id: object) -> str:
    if not isinstance(key_id, str):
        raise InvalidTypeError(f"a key's id must be a string, not {type(key_id).__name__}")
    if not (0 < len(key_id) <= LONGEST_ID and key_id.isprintable()):
        raise InvalidSessionError(f"a key's id must be 1 to {LONGEST_ID} characters that print")
    return str.__str__(key_id)
