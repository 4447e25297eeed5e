"""What reading a message costs by itself, beside LangChain's own way."""

from __future__ import annotations

import json

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    message_to_dict,
    messages_from_dict,
)
from measure import Loop, Measured, Use, interleaved
from turns import TEXTS

from langchain_sessionstore import to_langchain, to_session
from sessionstore.models import decode_message, encode_message

_WORK = "decoding a message"


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
    work = f"{_WORK}: {type(message).__name__}"
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
