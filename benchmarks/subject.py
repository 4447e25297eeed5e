"""What is measured: one way of keeping sessions, on one backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class Subject:
    """One way of keeping sessions, used as its users would, with each operation in one place.

    Attributes:
        name: As in the tables.
        backend: ``"sqlite"``, ``"redis"``, ``"postgresql"`` or ``"memory"``: what compares.
        family: ``"limit"`` (by hand), ``"naive"``, ``"ours"``, or a peer's framework.
        has_window: `load` of a few messages does not read them all.
    """

    name: ClassVar[str]
    backend: str
    family: ClassVar[str]
    has_window: ClassVar[bool] = True

    def load(self, session: str, limit: int | None) -> Sequence[Any]:
        """Give what an agent sees: all messages, oldest first, or the last ones."""
        raise NotImplementedError

    def append(self, session: str, texts: Sequence[str]) -> None:
        """Add a user's message, an assistant's, a user's, and so on, as one program would."""
        raise NotImplementedError

    def fill(self, session: str, texts: Sequence[str]) -> None:
        """Add many messages: not measured, so by whatever way is quick."""
        for start in range(0, len(texts), 1000):
            self.append(session, texts[start : start + 1000])

    def text(self, message: Any) -> str:
        """Give the text of what `load` gave."""
        return str(message.content)

    def close(self) -> None:
        """Leave the backend."""


class AsyncSubject(Subject):
    """The same in asyncio: every method but `text` is a coroutine."""

    async def load(self, session: str, limit: int | None) -> Sequence[Any]:  # type: ignore[override]
        """As `Subject.load`."""
        raise NotImplementedError

    async def append(self, session: str, texts: Sequence[str]) -> None:  # type: ignore[override]
        """As `Subject.append`."""
        raise NotImplementedError

    async def fill(self, session: str, texts: Sequence[str]) -> None:  # type: ignore[override]
        """As `Subject.fill`."""
        for start in range(0, len(texts), 1000):
            await self.append(session, texts[start : start + 1000])

    async def close(self) -> None:  # type: ignore[override]
        """As `Subject.close`."""
