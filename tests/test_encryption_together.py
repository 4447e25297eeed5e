"""Messages are opened many at once: that changes neither what is given nor what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from frames import shows
from msgspec.structs import replace

from sessionstore import (
    DecryptionError,
    EncryptedSessionStore,
    InMemorySessionStore,
    SessionData,
    SessionMessage,
    WrapperSessionStore,
)
from sessionstore.encryption.keys import Key, Keyring
from sessionstore.encryption.records import opened_messages, sealed_messages

KEY = bytes(range(32))
RING = Keyring([Key("k1", KEY)])
NO_UNICODE = "\ud800"


def said(count: int) -> list[SessionMessage]:
    return [SessionMessage("user", f"CANARY {n}", id=f"m{n}") for n in range(count)]


class Lenient(WrapperSessionStore):
    """Gives what nobody could have stored, as a reader of JSON does that lets half a pair pass."""

    change: Callable[[SessionData], SessionData]

    def run(self, operation: Any) -> Any:
        result = super().run(operation)
        return self.change(result) if isinstance(result, SessionData) else result


def lenient(change: Callable[[SessionData], SessionData]) -> EncryptedSessionStore:
    inner = Lenient(InMemorySessionStore())
    inner.change = change
    return EncryptedSessionStore(inner, {"k1": KEY})


def broken(held: SessionMessage) -> SessionMessage:
    return replace(held, extra={"encryption": {**held.extra["encryption"], "sealed": NO_UNICODE}})


def renamed(held: SessionMessage) -> SessionMessage:
    return replace(held, id=NO_UNICODE)


def renamed_and_broken(held: SessionMessage) -> SessionMessage:
    return replace(held, id=NO_UNICODE, extra={"encryption": "damaged"})


@pytest.mark.parametrize("change", [broken, renamed, renamed_and_broken])
def test_a_message_that_is_no_unicode_is_refused_and_shows_no_other(change: Any) -> None:
    def changed(data: SessionData) -> SessionData:
        return replace(data, messages=[*data.messages[:-1], change(data.messages[-1])])

    store = lenient(changed)
    store.append_messages("s", said(3))
    with pytest.raises(DecryptionError, match="of session 's'") as caught:
        store.get("s")
    assert shows(caught.value, "CANARY") == []


def test_a_value_of_metadata_that_is_no_unicode_is_refused() -> None:
    record = {"v": 1, "key": "k1", "sealed": NO_UNICODE}
    for name in ("title", NO_UNICODE):
        metadata = {name: {"encryption": record}}
        store = lenient(lambda data, metadata=metadata: replace(data, metadata=metadata))  # type: ignore[misc]
        store.append_messages("s", said(1))
        with pytest.raises(DecryptionError, match="the metadata"):
            store.get("s")


@pytest.mark.parametrize("place", [0, 31, 32, 33, 63, 64, 69])
def test_in_a_long_session_the_one_that_does_not_open_is_told(place: int) -> None:
    messages = said(70)
    held = sealed_messages(messages, "s", RING)
    assert opened_messages(held, "s", RING) == messages
    mixed = [*held[:place], messages[place], *held[place + 1 :]]
    assert opened_messages(mixed, "s", RING, allow_plain=True) == messages
    for other in (messages[place], broken(held[place])):
        with pytest.raises(DecryptionError, match=f"'m{place}' of session 's'") as caught:
            opened_messages([*held[:place], other, *held[place + 1 :]], "s", RING)
        assert shows(caught.value, "CANARY") == []


def test_a_long_session_is_not_held_twice_while_it_is_opened() -> None:
    words = [SessionMessage("user", "word " * 4_000, id=f"m{n}") for n in range(400)]
    held = sealed_messages(words, "s", RING)
    tracemalloc.start()
    opened = opened_messages(held, "s", RING)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(opened) == 400
    assert peak - kept < kept / 2
