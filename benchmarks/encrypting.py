"""What `EncryptedSessionStore` costs."""

from __future__ import annotations

from measure import Loop, Measured, interleaved
from ours import AsyncBare, Bare
from places import Place
from turns import WINDOWED, use

from sessionstore import EncryptedSessionStore

ENCRYPTED_TURN, ENCRYPTED = "a turn, the last 20, encrypted", "the store, encrypted"
_LENGTH = 100
_KEY = bytes(range(32))


class Encrypted(Bare):
    """A store that is given nothing that can be read."""

    name = ENCRYPTED

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self.store = EncryptedSessionStore(self.store, _KEY)


class AsyncEncrypted(AsyncBare):
    """The same in asyncio."""

    name = ENCRYPTED

    def __init__(self, backend: str, url: str) -> None:
        super().__init__(backend, url)
        self.store = EncryptedSessionStore(self.store, _KEY)


def encrypting(loop: Loop, backend: str, place: Place, *, seconds: float) -> list[Measured]:
    """Measure turns beside those of the store by itself."""
    kinds = (Bare, AsyncBare, Encrypted, AsyncEncrypted)
    subjects = [kind(backend, place(fresh=True)) for kind in kinds]
    uses = [use(loop, subject, _LENGTH, WINDOWED, name=ENCRYPTED_TURN) for subject in subjects]
    measured = interleaved(loop, uses, seconds=seconds, most=400)
    for subject in subjects:
        loop.run(subject.close())
    return measured
