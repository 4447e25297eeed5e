"""Conversations of LangChain that are in the middle when Redis is killed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from servers import redis as redis_servers

from langchain_sessionstore import session_history_factory, with_session_history
from langchain_sessionstore.demo import OfflineChatModel
from sessionstore import FallbackSessionStore, RedisSessionStore, SessionStore, Window, open_store

ALICE = {"configurable": {"session_id": "alice-1", "user_id": "alice"}}
KEYS = {"input_messages_key": "question", "history_messages_key": "history"}
PROMPT = ChatPromptTemplate.from_messages([MessagesPlaceholder("history"), ("human", "{question}")])
AT_FIRST = ["My name is Alice.", "Nice to meet you, Alice!"]
MEANWHILE = [
    *("What is my name?", "Your name is Alice."),
    *("I married: my name is Bell.", "Nice to meet you, Bell!"),
    *("And what is my name now?", "Your name is Bell."),
]
AFTERWARDS = ["Do you know my new name?", "Your name is Bell."]


@pytest.fixture
def redis() -> Iterator[redis_servers.Server]:
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield server


def in_one_line(store: SessionStore) -> Any:
    return with_session_history(PROMPT | OfflineChatModel(), store, **KEYS)


def scoped(store: SessionStore) -> Any:
    return with_session_history(PROMPT | OfflineChatModel(), store, user_scoped=True, **KEYS)


def in_a_window(store: SessionStore) -> Any:
    window = Window(max_messages=20)
    return with_session_history(PROMPT | OfflineChatModel(), store, window=window, **KEYS)


def as_it_was(store: SessionStore) -> Any:
    from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

    with pytest.warns(match="RunnableWithMessageHistory is deprecated"):
        return RunnableWithMessageHistory(
            PROMPT | OfflineChatModel(), session_history_factory(store), **KEYS
        )


def said_in(store: SessionStore) -> list[str]:
    return [str(message.content) for message in store.get_messages("alice-1")]


Ask = Callable[[Any, str], str]
COLOURS: dict[str, Ask] = {
    "invoke": lambda chain, text: chain.invoke({"question": text}, ALICE).text,
    "ainvoke": lambda chain, text: asyncio.run(chain.ainvoke({"question": text}, ALICE)).text,
    "stream": lambda chain, text: "".join(
        chunk.text for chunk in chain.stream({"question": text}, ALICE)
    ),
}


@pytest.mark.parametrize("ask", COLOURS.values(), ids=COLOURS.keys())
@pytest.mark.parametrize("chained", [in_one_line, scoped, in_a_window, as_it_was])
def test_a_conversation_goes_on_when_redis_is_killed(
    redis: redis_servers.Server,
    chained: Callable[[SessionStore], Any],
    ask: Ask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "sessionstore")
    with open_store(redis.url, retry_after=0) as store:
        assert isinstance(store, FallbackSessionStore)
        chain = chained(store)
        assert ask(chain, AT_FIRST[0]) == AT_FIRST[1]
        redis.kill()
        for question, answer in zip(MEANWHILE[::2], MEANWHILE[1::2], strict=True):
            assert ask(chain, question) == answer
        assert store.is_degraded()
        assert said_in(store) == AT_FIRST + MEANWHILE
        redis.start()
        with RedisSessionStore(redis.url) as itself:
            assert said_in(itself) == AT_FIRST  # it knows nothing of what was said meanwhile
            assert ask(chain, AFTERWARDS[0]) == AFTERWARDS[1]
            assert said_in(itself) == AT_FIRST + MEANWHILE + AFTERWARDS
        assert (store.is_degraded(), store.pending()) == (False, [])
        assert store.stats().fallbacks == store.stats().recoveries == 1
    levels = [record.levelname for record in caplog.records if record.name == "sessionstore"]
    assert levels == ["WARNING", "INFO"]
    assert "Alice" not in caplog.text
    assert "Bell" not in caplog.text


def test_a_conversation_goes_on_when_the_program_restarts_in_an_outage(
    redis: redis_servers.Server, tmp_path: Path
) -> None:
    outage = f"sqlite:///{tmp_path / 'outage.db'}"
    with open_store(redis.url, fallback=outage, retry_after=0) as store:
        chain = in_one_line(store)
        chain.invoke({"question": AT_FIRST[0]}, ALICE)
        redis.kill()
        chain.invoke({"question": MEANWHILE[2]}, ALICE)
    with open_store(redis.url, fallback=outage, retry_after=0) as store:
        chain = in_one_line(store)
        assert chain.invoke({"question": MEANWHILE[4]}, ALICE).text == MEANWHILE[5]
        redis.start()
        assert chain.invoke({"question": AFTERWARDS[0]}, ALICE).text == AFTERWARDS[1]
    with RedisSessionStore(redis.url) as itself:
        assert said_in(itself) == AT_FIRST + MEANWHILE[2:] + AFTERWARDS
