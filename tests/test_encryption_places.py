"""Encrypted wherever it lies: files, servers, journals, what is remembered; moved, and erased."""

from __future__ import annotations

import asyncio
import gc
import os
import types
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from canary import WORD, files_with, keys_with
from langchain.agents import create_agent
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from llama_index.core.base.llms.types import ChatMessage
from servers.redis import Server

from langchain_sessionstore import SessionMiddleware, with_session_history
from langchain_sessionstore.codec import to_langchain_messages
from langchain_sessionstore.demo import OfflineChatModel
from llama_index_sessionstore import SessionChatStore
from llama_index_sessionstore.codec import to_llama_index_messages
from openai_agents_sessionstore.codec import to_items
from sessionstore import (
    DecryptionError,
    EncryptedSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SessionData,
    SessionInfo,
    SessionMessage,
    SessionStore,
    SQLiteSessionStore,
)
from sessionstore.testing import FlakySessionStore
from sessionstore.transfer import acopy_sessions, copy_sessions, erase_user, export_sessions
from sessionstore.transfer.writers import langchain_lines, openai_lines

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
CALL: Any = {"id": WORD, "name": WORD, "args": {WORD: WORD}}


def sing(store: SessionStore, user_id: str = "alice", sessions: int = 2) -> None:
    """Say the word in all that is sealed, and change, fork and take back some of it."""
    for number in range(sessions):
        name = f"{user_id}-{number}"
        store.create(name, user_id=user_id, metadata={"title": WORD, "tags": {WORD: WORD}})
        messages = [
            SessionMessage("user", WORD * 300, name=WORD, metadata={WORD: WORD}, id="m1"),
            SessionMessage("assistant", "", tool_calls=[CALL], id="m2"),
            SessionMessage("tool", [{"type": "text", "text": WORD}], tool_call_id=WORD, id="m3"),
            SessionMessage("assistant", WORD, extra={"langchain": {WORD: WORD}}, id="m4"),
        ]
        store.append_messages(name, messages, user_id=user_id)
        store.replace_message(name, SessionMessage("user", WORD, id="m1"), user_id=user_id)
        summary = {"summary": {"text": WORD, "until": "m2"}}
        store.update(name, metadata=summary, user_id=user_id)
        store.fork(name, f"{name}-fork", user_id=user_id, metadata={"note": WORD})
        store.delete_messages(name, ["m4"], user_id=user_id)
        store.lease(name)


def reached(store: object) -> Iterator[bytes]:
    """Give all text and bytes that an object holds, however deep."""
    left: list[Any] = [store]
    seen: set[int] = set()
    passed = (type, types.ModuleType, types.FunctionType, types.CodeType)
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, passed):
            continue
        seen.add(id(one))
        if isinstance(one, (str, bytes)):
            yield one.encode("utf-8", "replace") if isinstance(one, str) else one
        left += gc.get_referents(one)


# -- At rest --------------------------------------------------------------------------------------


def test_no_word_is_in_a_file_of_sqlite(tmp_path: Path) -> None:
    with SQLiteSessionStore(tmp_path / "plain.db") as plain:
        sing(plain)
        assert files_with(tmp_path) == {"plain.db-wal"}  # this finds it where it is
    (tmp_path / "plain.db").unlink()
    with EncryptedSessionStore(SQLiteSessionStore(tmp_path / "sealed.db"), KEY) as store:
        sing(store)
        assert not files_with(tmp_path)
        assert (tmp_path / "sealed.db-wal").stat().st_size > 0
    assert not files_with(tmp_path)


def test_no_word_is_in_a_redis(redis_server: Server) -> None:
    prefix = f"sealed:{uuid.uuid4()}:"
    with EncryptedSessionStore(RedisSessionStore(redis_server.url, key_prefix=prefix), KEY) as it:
        sing(it)
        assert keys_with(redis_server, prefix)
        assert not {key for key in keys_with(redis_server) if key.startswith(prefix.encode())}
        assert not {key for key in keys_with(redis_server) if b"sealed:" in key}
        assert len(it.get_messages("alice-0", user_id="alice")) == 3


def test_no_word_is_in_what_a_fallback_keeps(tmp_path: Path) -> None:
    server = FlakySessionStore(SQLiteSessionStore(tmp_path / "primary.db"))
    journal = SQLiteSessionStore(tmp_path / "journal.db")
    fallback = FallbackSessionStore(server, fallback=journal, retry_after=0)
    with EncryptedSessionStore(fallback, KEY) as store:
        sing(store, "warm")
        with server.outage():
            sing(store, "alice")
            assert store.is_degraded()
            assert len(store.get_messages("warm-0", user_id="warm")) == 3
            assert fallback.pending()
            assert (tmp_path / "journal.db-wal").stat().st_size > 0
            assert not files_with(tmp_path)
            held = list(reached(fallback))
            assert not [text for text in held if WORD.encode() in text]
            assert [text for text in held if b'"sealed"' in text]
        assert store.recover()
        assert not files_with(tmp_path)
        assert len(store.get_messages("alice-1", user_id="alice")) == 3
        session = store.get("alice-1-fork")
        assert session is not None
        assert session.metadata["note"] == WORD


# -- Moved ----------------------------------------------------------------------------------------


@pytest.fixture(params=["sync", "async"])
def copied(request: pytest.FixtureRequest) -> Callable[..., Any]:
    if request.param == "sync":
        return copy_sessions
    return lambda *args, **named: asyncio.run(acopy_sessions(*args, **named))


def test_sessions_are_copied_from_clear_to_sealed_and_back(copied: Callable[..., Any]) -> None:
    plain, held, back = (InMemorySessionStore() for _ in range(3))
    sing(plain, "alice")
    sing(plain, "bob")
    many = [SessionMessage("user", WORD, id=f"m{n}") for n in range(1_200)]
    plain.append_messages("long", many, user_id="alice")
    vault = {"alice": KEY, "bob": OTHER}
    sealed = EncryptedSessionStore(held, vault.__getitem__)
    assert copied(plain, sealed, verify=True).complete
    assert not [text for text in reached(held) if WORD.encode() in text]
    assert copied(plain, sealed, verify=True).equal == 9  # all of it is there
    assert copied(sealed, back, verify=True).complete
    for info, other in zip(listed(plain), listed(back), strict=True):
        assert (info.id, info.user_id, info.metadata) == (other.id, other.user_id, other.metadata)
        assert back.get_messages(info.id) == plain.get_messages(info.id)


def listed(store: SessionStore) -> list[SessionInfo]:
    return store.list_sessions().sessions


def test_what_can_not_be_opened_is_left_and_named(tmp_path: Path) -> None:
    held = InMemorySessionStore()
    sing(EncryptedSessionStore(held, {"k1": KEY}), sessions=1)
    reader = EncryptedSessionStore(held, {"k2": OTHER})
    EncryptedSessionStore(held, {"k2": OTHER}).append_message("mine", {"role": "user"})
    report = copy_sessions(reader, target := InMemorySessionStore())
    assert report.copied == 1
    assert {left.session_id for left in report.failed} == {"alice-0", "alice-0-fork"}
    assert all("'k1'" in left.why for left in report.failed)
    assert [info.id for info in target.list_sessions().sessions] == ["mine"]
    assert not export_sessions(reader, tmp_path / "file.jsonl").complete


def test_a_user_is_erased_though_their_key_is_gone() -> None:
    vault = {"alice": KEY, "bob": OTHER}
    store = EncryptedSessionStore(InMemorySessionStore(), vault.__getitem__)
    sing(store, "alice")
    sing(store, "bob")
    del vault["alice"]
    with pytest.raises(DecryptionError, match="no key for user 'alice'"):
        store.get("alice-0")
    receipt = erase_user(store, "alice")
    assert (receipt.complete, receipt.sessions) == (True, 4)
    assert {info.user_id for info in store.list_sessions().sessions} == {"bob"}
    assert len(store.get_messages("bob-0", user_id="bob")) == 3


def test_a_copy_that_is_left_somewhere_is_not_read_without_the_key(tmp_path: Path) -> None:
    """What erasing can't reach, a backup say, is gone with the user's key."""
    vault = {"alice": os.urandom(32), "bob": os.urandom(32)}
    with EncryptedSessionStore(SQLiteSessionStore(tmp_path / "s.db"), vault.get) as store:
        sing(store, "alice")
        sing(store, "bob")
    backup = tmp_path / "backup.db"
    backup.write_bytes((tmp_path / "s.db").read_bytes())
    del vault["alice"]
    with EncryptedSessionStore(SQLiteSessionStore(backup), vault.get) as store:
        for user_id in ("alice", None):
            with pytest.raises(DecryptionError):
                store.get("alice-0", user_id=user_id)
        assert len(store.get_messages("bob-0", user_id="bob")) == 3
    assert not files_with(tmp_path)


# -- In frameworks --------------------------------------------------------------------------------


@pytest.fixture
def held() -> InMemorySessionStore:
    return InMemorySessionStore()


@pytest.fixture
def store(held: InMemorySessionStore) -> EncryptedSessionStore:
    vault: dict[str | None, bytes] = {"alice": KEY}
    return EncryptedSessionStore(held, vault.__getitem__)


def alice(session_id: str) -> Any:
    return {"configurable": {"session_id": session_id, "user_id": "alice"}}


def in_clear(held: InMemorySessionStore) -> list[str]:
    return [repr(m.content) for i in held.list_sessions().sessions for m in held.get_messages(i.id)]


def test_a_chain_goes_on_with_an_encrypted_session(
    store: EncryptedSessionStore, held: InMemorySessionStore
) -> None:
    prompt = ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history"), ("human", "{question}")]
    )
    chain: Any = with_session_history(
        prompt | OfflineChatModel(),
        store,
        input_messages_key="question",
        history_messages_key="history",
    )
    chain.invoke({"question": "My name is Alice."}, alice("s"))
    answer = asyncio.run(chain.ainvoke({"question": "What is my name?"}, alice("s")))
    assert answer.text == "Your name is Alice."
    assert in_clear(held) == ["''"] * 4


def test_an_agent_goes_on_with_an_encrypted_session(
    store: EncryptedSessionStore, held: InMemorySessionStore
) -> None:
    agent: Any = create_agent(OfflineChatModel(), middleware=[SessionMiddleware(store)])
    agent.invoke({"messages": [("user", "My name is Alice.")]}, alice("s"))
    done = agent.invoke({"messages": [("user", "What is my name?")]}, alice("s"))
    assert done["messages"][-1].text == "Your name is Alice."
    assert in_clear(held) == ["''"] * 4


def test_llama_index_reads_what_it_wrote(
    store: EncryptedSessionStore, held: InMemorySessionStore
) -> None:
    chats = SessionChatStore(store, user_id="alice")
    said = [ChatMessage(WORD, role="user"), ChatMessage("Hello!", role="assistant")]
    chats.set_messages("s", said)
    chats.add_message("s", ChatMessage("More.", role="user"))
    assert [m.content for m in chats.get_messages("s")] == [WORD, "Hello!", "More."]
    assert chats.delete_last_message("s") is not None
    assert in_clear(held) == ["''"] * 2


# -- Read without its keys ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "read",
    [
        lambda session: to_langchain_messages(session.messages),
        lambda session: to_llama_index_messages(session.messages),
        lambda session: to_items(session.messages),
        lambda session: list(langchain_lines([session])),
        lambda session: list(openai_lines([session])),
    ],
)
def test_nobody_takes_a_sealed_message_for_one_that_says_nothing(
    read: Callable[[SessionData | None], object],
) -> None:
    held = InMemorySessionStore()
    sing(EncryptedSessionStore(held, {"2027": KEY}), sessions=1)
    with pytest.raises(
        DecryptionError, match=r"'m1' is encrypted.*EncryptedSessionStore"
    ) as caught:
        read(held.get("alice-0"))
    assert caught.value.key_id == "2027"


def test_a_chain_that_was_not_given_the_keys_adds_nothing() -> None:
    held = InMemorySessionStore()
    EncryptedSessionStore(held, KEY).append_message("s", {"role": "user", "content": WORD})
    chain = with_session_history(OfflineChatModel(), held)
    with pytest.raises(DecryptionError, match="without its keys"):
        chain.invoke("What is my name?", {"configurable": {"session_id": "s"}})
    assert len(held.get_messages("s")) == 1
