"""What the limits share: the same work by hand, on the driver alone, as lean as it goes.

Each keeps what a store promises of it: an append is durable as the backend has it, atomic, in one
order for all readers, in one round trip, and adds nothing when its ids are there already; reading
the last messages costs the same in a long session as in a short one. There is no owner, no version,
no index to list sessions from, no expiry, no check of what comes in, no timeout, and no error is
translated.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
from subject import Subject

_encode = msgspec.json.Encoder().encode
decoded = msgspec.json.Decoder().decode


def rows_of(texts: Sequence[str]) -> list[tuple[str, bytes]]:
    """Give each message's id and its JSON."""
    now = time.time()
    return [
        (message_id, _encode({"role": role, "content": text, "id": message_id, "created_at": now}))
        for text, role, message_id in (
            (text, ("user", "assistant")[n % 2], uuid4().hex) for n, text in enumerate(texts)
        )
    ]


def oldest_first(rows: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Give the messages of rows that come newest first."""
    return [decoded(body) for (body,) in rows][::-1]


class ByHand(Subject):
    """A limit."""

    name = "by hand"
    family = "limit"

    def text(self, message: Any) -> str:
        return str(message["content"])
