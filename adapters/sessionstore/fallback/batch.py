"""`Batch`: the writes that one request replays: one of them, or appends of the same caller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from sessionstore.fallback.entries import Entry, decode_append, decode_entry
from sessionstore.operations import Append

__all__ = ["Batch", "first_batch"]


class Batch(NamedTuple):
    """Writes that are replayed together.

    Attributes:
        entry: All of them as one; of two messages with one id the first counts.
        ids: Their ids.
        bodies: Each of them, as JSON.
    """

    entry: Entry
    ids: list[str]
    bodies: list[bytes]

    def __repr__(self) -> str:
        """Tell how many writes there are: never what was said."""
        return f"Batch(<{len(self.ids)} writes>)"

    @property
    def size(self) -> int:
        """How many writes there are."""
        return len(self.ids)

    def split(self) -> list[Batch]:
        """Give each of the writes as a batch of its own."""
        entries = [decode_entry(body) for body in self.bodies]
        return [
            Batch(entry, [entry.id], [body])
            for entry, body in zip(entries, self.bodies, strict=True)
        ]


def first_batch(bodies: Iterable[bytes]) -> Batch | None:
    """Give the first write, with the appends of the same caller that follow it if it is one.

    Args:
        bodies: The entries, as JSON.
    """
    rest = iter(bodies)
    body = next(rest, None)
    if body is None:
        return None
    entry = decode_entry(body)
    batch, append = Batch(entry, [entry.id], [body]), entry.operation
    if not isinstance(append, Append):
        return batch
    messages = append.messages.copy()
    for body in rest:
        more = decode_append(body)
        if more is None or (more.user_id, more.agent_id) != (append.user_id, append.agent_id):
            break
        batch.ids.append(more.id)
        batch.bodies.append(body)
        messages += more.messages
    if batch.size == 1:
        return batch
    joined = replace(entry, operation=replace(append, messages=messages))
    return Batch(joined, batch.ids, batch.bodies)
