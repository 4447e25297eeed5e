"""What LangChain's side costs by itself: `with_session_history`, and reading a message."""

from __future__ import annotations

import itertools
import json
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from measure import Loop, Measured, Use, interleaved
from turns import TEXTS

from langchain_sessionstore import (
    to_langchain,
    to_langchain_messages,
    to_session,
    to_session_messages,
    with_session_history,
)
from sessionstore import InMemorySessionStore
from sessionstore.models import decode_message, encode_message

WIRING = "a turn around a model that answers at once"
DECODING = "decoding a message"
PARTS, OURS, THEIRS = "its parts, by hand", "with_session_history", "RunnableWithMessageHistory"
_KEYS = {"input_messages_key": "question", "history_messages_key": "history"}
_ASKED = {"question": "why?"}
_ANSWER = AIMessage(TEXTS[1])


def wiring(loop: Loop, *, seconds: float) -> list[Measured]:
    """Measure turns, each in a new session in memory, beside what its parts take."""
    runnable = RunnableLambda(lambda _: _ANSWER)
    messages = [MessagesPlaceholder("history"), ("human", "{question}")]
    prompt = ChatPromptTemplate.from_messages(messages)
    given = {**_ASKED, "history": []}
    return interleaved(
        loop,
        [
            *_turns("a runnable", runnable, "why?", [HumanMessage("why?")], {}),
            *_turns("a prompt and a runnable", prompt | runnable, _ASKED, given, _KEYS),
        ],
        seconds=seconds,
        most=1000,
    )


def _turns(
    shape: str, runnable: Runnable[Any, Any], asked: Any, given: Any, keys: dict[str, Any]
) -> list[Use]:
    store = InMemorySessionStore()
    ids = map(str, itertools.count())

    def parts(run: Callable[..., object]) -> None:
        session_id = next(ids)
        to_langchain_messages(store.get_messages(session_id))
        run(runnable, given, {})
        store.append_messages(session_id, to_session_messages([HumanMessage("why?"), _ANSWER]))

    def whole(chain: Runnable[Any, Any], run: Callable[..., object]) -> None:
        run(chain, asked, {"configurable": {"session_id": next(ids)}})

    ways: list[tuple[str, str, Callable[..., None]]] = [
        (PARTS, "limit", parts),
        (OURS, "ours", partial(whole, with_session_history(runnable, store, **keys))),
        (THEIRS, "langchain", partial(whole, _theirs(runnable, **keys))),
    ]
    return [
        Use(
            Measured(f"{WIRING}: {shape}, {how}", "memory", "sync", name, family, 0),
            partial(way, run),
        )
        for how, run in (("invoke", _invoked), ("stream", _streamed))
        for name, family, way in ways
    ]


def _theirs(runnable: Runnable[Any, Any], **keys: Any) -> Runnable[Any, Any]:
    warnings.simplefilter("ignore")
    return RunnableWithMessageHistory(runnable, lambda _: InMemoryChatMessageHistory(), **keys)


def _invoked(chain: Runnable[Any, Any], value: Any, config: Any) -> object:
    return chain.invoke(value, config)


def _streamed(chain: Runnable[Any, Any], value: Any, config: Any) -> object:
    return list(chain.stream(value, config))


def decoding(loop: Loop, *, seconds: float) -> list[Measured]:
    """Measure reading one stored message, beside LangChain's own way."""
    messages: list[BaseMessage] = [
        HumanMessage(TEXTS[0], id="1"),
        AIMessage(TEXTS[1], id="2", response_metadata={"model_name": "m"}),
    ]
    uses = [use for message in messages for use in _decoders(message)]
    return interleaved(loop, uses, seconds=seconds, most=1000)


def _decoders(message: BaseMessage) -> list[Use]:
    ours = encode_message(to_session(message))
    theirs = json.dumps(message_to_dict(message))
    work = f"{DECODING}: {type(message).__name__}"
    assert to_langchain(decode_message(ours)) == message
    return [
        Use(
            Measured(work, "", "sync", "json.loads, messages_from_dict", "limit", 0),
            lambda: messages_from_dict([json.loads(theirs)]),
        ),
        Use(
            Measured(work, "", "sync", "to_langchain(decode_message())", "ours", 0),
            lambda: to_langchain(decode_message(ours)),
        ),
    ]
