"""What LangChain's side costs, a turn's own and loading a long session: ``make bench``."""

from __future__ import annotations

import itertools
import json
import sqlite3
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from core import TEXT, medians, row
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_sessionstore import (
    SessionChatMessageHistory,
    to_langchain_messages,
    to_session_messages,
    with_session_history,
)
from sessionstore import InMemorySessionStore, RedisSessionStore, SQLiteSessionStore

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from servers import redis as redis_servers

KEYS = {"input_messages_key": "question", "history_messages_key": "history"}
ASKED = {"question": "why?"}
ANSWER = AIMessage(TEXT)
COUNT = 1000


def theirs(runnable: Runnable[Any, Any], **keys: Any) -> Runnable[Any, Any]:
    """Wrap a runnable in `RunnableWithMessageHistory`, over histories in memory."""
    from langchain_core.chat_history import InMemoryChatMessageHistory  # noqa: PLC0415
    from langchain_core.runnables.history import RunnableWithMessageHistory  # noqa: PLC0415

    def get(session_id: str) -> InMemoryChatMessageHistory:  # noqa: ARG001
        return InMemoryChatMessageHistory()

    warnings.simplefilter("ignore")
    return RunnableWithMessageHistory(runnable, get, **keys)


def turns() -> None:
    """A turn in each wiring, less what its parts take by themselves."""
    runnable = RunnableLambda(lambda _: ANSWER)
    turn("a runnable", runnable, "why?", [HumanMessage("why?")], {})
    prompt = ChatPromptTemplate.from_messages(
        [MessagesPlaceholder("history"), ("human", "{question}")]
    )
    turn("prompt | runnable", prompt | runnable, ASKED, {**ASKED, "history": []}, KEYS)


def turn(
    name: str, runnable: Runnable[Any, Any], asked: Any, given: Any, keys: dict[str, Any]
) -> None:
    """Measure one shape, each turn in a new session."""
    store = InMemorySessionStore()
    ours, other = with_session_history(runnable, store, **keys), theirs(runnable, **keys)
    ids = map(str, itertools.count())

    def parts(run: Callable[..., object]) -> None:
        session_id = next(ids)
        to_langchain_messages(store.get_messages(session_id))
        run(runnable, given, {})
        new = to_session_messages([HumanMessage("why?"), ANSWER])
        store.append_messages(session_id, new)

    def whole(run: Callable[..., object], chain: Runnable[Any, Any]) -> None:
        run(chain, asked, {"configurable": {"session_id": next(ids)}})

    for way, run in (("invoke", invoked), ("stream", streamed)):
        uses = [
            partial(parts, run),
            partial(whole, run, ours),
            partial(whole, run, other),
        ]
        alone, mine, others = medians(uses, 2000)
        row(f"a turn of its own, {name}, {way}", mine - alone, "theirs", others - alone)


def invoked(chain: Runnable[Any, Any], value: Any, config: Any) -> object:
    """Run a chain."""
    return chain.invoke(value, config)


def streamed(chain: Runnable[Any, Any], value: Any, config: Any) -> object:
    """Run a chain, and take all that it streams."""
    return list(chain.stream(value, config))


def loading() -> None:
    """Loading a long session, beside its rows read by hand with the driver."""
    for name, opened in (("SQLite", sqlite), ("Redis", redis)):
        with opened() as (history, by_hand):
            assert history.messages == by_hand()
            mine, naive = medians([lambda: history.messages, by_hand], 60)
            row(f"load {COUNT} messages from {name}", mine, "by hand", naive)


def conversation() -> list[BaseMessage]:
    """Give messages as models make them."""
    data = {"model_name": "m", "finish_reason": "stop"}
    return [
        AIMessage(TEXT, id=str(n), response_metadata=data)
        if n % 2
        else HumanMessage(TEXT, id=str(n))
        for n in range(COUNT)
    ]


Opened = tuple[SessionChatMessageHistory, Callable[[], list[BaseMessage]]]


@contextmanager
def sqlite() -> Iterator[Opened]:
    """A session in a file, and the same in a table of rows of JSON, as LangChain's history has."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        with (
            SQLiteSessionStore(path / "ours.db") as store,
            closing(sqlite3.connect(path / "rows.db")) as rows,
        ):
            history = SessionChatMessageHistory("s", store)
            history.add_messages(conversation())
            rows.execute("CREATE TABLE message_store (id INTEGER PRIMARY KEY, session_id, message)")
            rows.execute("CREATE INDEX sessions ON message_store (session_id)")
            texts = [("s", json.dumps(message_to_dict(message))) for message in conversation()]
            rows.executemany("INSERT INTO message_store (session_id, message) VALUES (?, ?)", texts)
            rows.commit()
            query = "SELECT message FROM message_store WHERE session_id = ? ORDER BY id"
            yield (
                history,
                lambda: messages_from_dict(
                    [json.loads(text) for (text,) in rows.execute(query, ("s",))]
                ),
            )


@contextmanager
def redis() -> Iterator[Opened]:
    """A session in a server, and the same as a list of JSON, as LangChain's history has."""
    from redis import Redis  # noqa: PLC0415

    with redis_servers.single() as server, RedisSessionStore(server.url) as store:
        history = SessionChatMessageHistory("s", store)
        history.add_messages(conversation())
        with Redis.from_url(server.url) as client:
            client.rpush("rows", *(json.dumps(message_to_dict(m)) for m in conversation()))
            yield (
                history,
                lambda: messages_from_dict([json.loads(t) for t in client.lrange("rows", 0, -1)]),
            )


if __name__ == "__main__":
    turns()
    loading()
