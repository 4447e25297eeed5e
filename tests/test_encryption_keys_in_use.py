"""Functions that give keys, which fail or change their answer while a call is under way."""

from __future__ import annotations

from typing import Any

import pytest

from sessionstore import EncryptedSessionStore, InMemorySessionStore, SessionMessage

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))


class Vault:
    """Gives one key so many times; then it fails, or gives another one."""

    def __init__(self) -> None:
        self.left = 99
        self.then: Any = RuntimeError("the vault is away")

    def __call__(self, _: str | None) -> dict[str, bytes]:
        self.left -= 1
        if self.left >= 0:
            return {"k1": KEY}
        if isinstance(self.then, Exception):
            raise self.then
        return {"k2": OTHER}


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def store(vault: Vault) -> EncryptedSessionStore:
    store = EncryptedSessionStore(InMemorySessionStore(), vault)
    said = SessionMessage("user", "Hello", id="m1")
    store.create("s", user_id="alice", messages=[said], metadata={"title": "T"})
    return store


@pytest.mark.parametrize("then", [RuntimeError("the vault is away"), KeyError("alice"), None])
@pytest.mark.parametrize("write", ["create", "update", "fork"])
def test_what_is_written_is_told_by_the_keys_that_sealed_it(
    store: EncryptedSessionStore, vault: Vault, write: str, then: Exception | None
) -> None:
    """A write that took effect is not reported as failed, for what the function does afterwards."""
    vault.left, vault.then = 1, then
    said = [SessionMessage("user", "More", id="m2")]
    told: Any = {
        "create": lambda: store.create("n", user_id="alice", messages=said, metadata={"a": 1}),
        "update": lambda: store.update("s", user_id="alice", metadata={"a": 1}),
        "fork": lambda: store.fork("s", "n", user_id="alice", metadata={"a": 1}),
    }[write]()
    assert told.metadata["a"] == 1
    if write == "create":
        assert told.messages[0].content == "More"


def test_what_is_written_without_any_key_is_written(
    store: EncryptedSessionStore, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sealed where a value is taken away: the keys are asked for what is left."""
    vault.left, vault.then = 0, RuntimeError("PASSWORD")
    told = store.update("s", user_id="alice", metadata={"other": None})
    assert (told.version, told.metadata) == (2, {})
    assert "RuntimeError" in caplog.text
    assert "PASSWORD" not in caplog.text


def test_a_list_asks_for_the_keys_of_each_user_once(
    store: EncryptedSessionStore, vault: Vault
) -> None:
    for number in range(9):
        store.append_message(f"s{number}", {"role": "user"}, user_id="alice")
    vault.left = 1
    page = store.list_sessions(user_id="alice", last=1)
    assert len(page.sessions) == 10
    assert all(info.messages for info in page.sessions)
