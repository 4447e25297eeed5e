"""What stands beside the words of a LangChain message: bytes, models, fields of derived classes."""

import json
import warnings
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

import pytest
from langchain_core.documents import Document
from langchain_core.documents.base import Blob
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    message_to_dict,
)
from langchain_core.tools import tool
from pydantic import BaseModel, Field, SecretStr, create_model, field_serializer

from langchain_sessionstore import SessionChatMessageHistory, to_langchain, to_session
from sessionstore import InMemorySessionStore, SessionMessage
from sessionstore.models import decode_message, encode_message


def there_and_back(message: BaseMessage) -> BaseMessage:
    return to_langchain(decode_message(encode_message(to_session(message))))


def same(left: BaseMessage, right: BaseMessage) -> bool:
    return type(left) is type(right) and message_to_dict(left) == message_to_dict(right)


# -- Bytes: what providers' own message classes are given and give ---------------------------------

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"
FROM_PROVIDERS = {
    "Bedrock's redacted reasoning": AIMessage(
        [
            {"type": "reasoning_content", "reasoning_content": {"redacted_content": PNG}},
            {"type": "text", "text": "Paris."},
        ],
        id="1",
    ),
    "Bedrock's document": HumanMessage(
        [{"document": {"format": "pdf", "name": "a", "source": {"bytes": b"%PDF\xff"}}}], id="1"
    ),
    "Bedrock's image in a result": ToolMessage(
        [{"image": {"format": "png", "source": {"bytes": PNG}}}], tool_call_id="c", id="1"
    ),
    "Google's media": HumanMessage(
        [{"type": "media", "mime_type": "image/png", "data": PNG}], id="1"
    ),
    "Google's signatures": AIMessage(
        "",
        id="1",
        tool_calls=[{"name": "f", "args": {"blob": PNG}, "id": "c"}],
        additional_kwargs={"__gemini_function_call_thought_signatures__": {"c": PNG}},
        response_metadata={"grounding": [{"chunk": {"raw": PNG}}]},
    ),
    "a tool's artifact": ToolMessage("ok", tool_call_id="c", artifact={"png": [PNG]}, id="1"),
    "an artifact of bytes alone": ToolMessage("ok", tool_call_id="c", artifact=PNG, id="1"),
    "a block that looks like what bytes are kept as": HumanMessage(
        [{"type": "media", "data": PNG, "more": {"$bytes": "aGk="}}], id="1"
    ),
}


@pytest.mark.parametrize("message", FROM_PROVIDERS.values(), ids=FROM_PROVIDERS)
def test_bytes_in_a_message_come_back_equal(message):
    back = there_and_back(message)
    assert back == message
    assert same(back, message)
    assert same(there_and_back(back), message)


def test_a_turn_with_bytes_is_kept_whole():
    history = SessionChatMessageHistory("s", InMemorySessionStore())
    turn = list(FROM_PROVIDERS.values())
    turn = [message.model_copy(update={"id": str(n)}) for n, message in enumerate(turn)]
    history.add_messages(turn)
    assert history.messages == turn


def test_bytes_are_stored_as_json_and_the_message_stays_langchains():
    stored = json.loads(encode_message(to_session(FROM_PROVIDERS["Google's media"])))
    assert stored["content"] == [
        {"type": "media", "mime_type": "image/png", "data": {"$bytes": "iVBORw0KGgoA/w=="}}
    ]
    assert stored["extra"] == {"sessionstore": {"bytes": True}}
    back = there_and_back(FROM_PROVIDERS["Google's media"])
    assert "_session_message" not in back.__dict__


def test_bytes_that_another_framework_stored_are_read_and_its_message_kept():
    theirs = SessionMessage(
        "user",
        [{"type": "media", "data": {"$bytes": "aGk="}}],
        id="1",
        extra={"another": {"x": {"$bytes": "aGk="}}, "sessionstore": {"bytes": True}},
    )
    read = to_langchain(theirs)
    assert read.content == [{"type": "media", "data": b"hi"}]
    assert to_session(read) is theirs


# -- Models ---------------------------------------------------------------------------------------


class Step(BaseModel):
    at: datetime


class Plan(BaseModel):
    steps: list[Step]
    key: SecretStr = SecretStr("secret")


def test_a_pydantic_model_in_a_message_comes_back_as_its_json():
    plan = Plan(steps=[Step(at=datetime(2026, 1, 2, tzinfo=timezone.utc))])
    data = {"steps": [{"at": "2026-01-02T00:00:00Z"}], "key": "**********"}
    message = AIMessage(
        "ok",
        id="1",
        additional_kwargs={"parsed": plan, "refusal": None},
        response_metadata={"all": [{"plans": (plan, None)}]},
        x_provider=plan,
    )
    back = there_and_back(message)
    assert back == AIMessage(
        "ok",
        id="1",
        additional_kwargs={"parsed": data, "refusal": None},
        response_metadata={"all": [{"plans": [data, None]}]},
        x_provider=data,
    )
    assert message.additional_kwargs["parsed"] is plan
    assert same(there_and_back(back), back)


def test_a_pydantic_model_that_no_longer_fits_its_fields_raises_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        message = AIMessage("", additional_kwargs={"parsed": Step.model_construct(at="a secret")})
        assert there_and_back(message).additional_kwargs == {"parsed": {"at": "a secret"}}


AT = datetime(2026, 1, 2, tzinfo=timezone.utc)
CATS = Document("About cats.", id="d1", metadata={"at": AT, "page": 3})
CATS_DATA = {
    "id": "d1",
    "metadata": {"at": "2026-01-02T00:00:00Z", "page": 3},
    "page_content": "About cats.",
    "type": "Document",
}


@pytest.mark.parametrize(
    ("artifact", "data"),
    [
        (CATS, CATS_DATA),
        ([CATS, CATS], [CATS_DATA, CATS_DATA]),
        ({"found": [(CATS, 0.5)], "more": None}, {"found": [[CATS_DATA, 0.5]], "more": None}),
        ([], []),
        (False, False),
        ("text", "text"),
    ],
)
def test_models_in_an_artifact_are_kept_as_in_additional_kwargs(artifact, data):
    back = there_and_back(ToolMessage("ok", tool_call_id="c", artifact=artifact, id="1"))
    assert back == ToolMessage("ok", tool_call_id="c", artifact=data, id="1")
    kwargs = {"artifact": artifact}
    assert there_and_back(AIMessage("", additional_kwargs=kwargs)).additional_kwargs == {
        "artifact": data
    }


def test_documents_that_a_retriever_tool_found_are_kept():
    @tool(response_format="content_and_artifact")
    def search(query: str) -> tuple[str, list[Document]]:
        """Search."""
        return query, [CATS]

    call = {"name": "search", "args": {"query": "cats"}, "id": "c", "type": "tool_call"}
    message = search.invoke(call)
    assert message.artifact == [CATS]
    [read] = there_and_back(message).artifact
    assert Document(**read) == Document("About cats.", id="d1", metadata=CATS_DATA["metadata"])


@pytest.mark.parametrize("data", [PNG, b"plain text"])
def test_a_models_bytes_stay_bytes(data):
    blob = Blob(data=data, mimetype="image/png", metadata={"at": AT})
    [read] = there_and_back(ToolMessage("ok", tool_call_id="c", artifact=[blob])).artifact
    assert (read["data"], read["mimetype"]) == (data, "image/png")
    assert read["metadata"] == {"at": "2026-01-02T00:00:00Z"}


class Pages(BaseModel):
    by_number: dict[int, bytes]
    by_day: dict[datetime, str]


def test_the_keys_of_a_model_with_bytes_are_those_of_its_json():
    pages = Pages(by_number={1: PNG}, by_day={AT: "x"})
    message = AIMessage("x", additional_kwargs={"parsed": [pages]})
    [read] = there_and_back(message).additional_kwargs["parsed"]
    assert read == {"by_number": {"1": PNG}, "by_day": {"2026-01-02T00:00:00Z": "x"}}


class Credentials(BaseModel):
    password: str
    certificate: bytes

    @field_serializer("password", when_used="json")
    def hide(self, _: str) -> str:
        return "***"


@pytest.mark.parametrize("certificate", [PNG, b"text"])
def test_fields_that_a_model_excludes_stay_excluded_beside_bytes(certificate):
    given = Credentials(password="hunter2", certificate=certificate)  # noqa: S106 - none
    message = AIMessage("x", additional_kwargs={"parsed": given})
    [read] = there_and_back(message).additional_kwargs.values()
    assert read == {"password": "***", "certificate": certificate}


class Opaque(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    inside: object


def test_a_model_without_json_costs_the_artifact_only():
    message = ToolMessage(
        "ok", tool_call_id="c", artifact=[Opaque(inside=object())], x_provider=CATS, id="1"
    )
    with pytest.warns(UserWarning, match="a tool's artifact is not kept.*type Opaque"):
        back = there_and_back(message)
    assert back == ToolMessage("ok", tool_call_id="c", x_provider=CATS_DATA, id="1")


@dataclass
class Row:
    number: int


def test_an_artifact_that_can_not_be_compared_is_left_out():
    class Array:
        def __ne__(self, other: object) -> bool:
            raise ValueError("ambiguous")

        __hash__ = None

    with pytest.warns(UserWarning, match="type Array"):
        there_and_back(ToolMessage("ok", tool_call_id="c", artifact=Array()))
    with pytest.warns(UserWarning, match="type Row"):
        there_and_back(ToolMessage("ok", tool_call_id="c", artifact=[Row(1)]))


# -- Derived classes ------------------------------------------------------------------------------


def test_a_derived_class_comes_back_as_its_base_with_its_fields_as_extras():
    class Shout(HumanMessage):
        loudness: int = 11
        at: datetime
        source: Document | None = None
        echo: bytes = b""
        internal: str = Field("x", exclude=True)

    message = Shout("HELLO", id="1", at=AT, source=CATS, echo=PNG, x_provider=1)
    with pytest.warns(UserWarning, match="the class Shout come back as HumanMessage") as caught:
        back = there_and_back(message)
    assert len(caught) == 1
    assert back == HumanMessage(
        "HELLO",
        id="1",
        loudness=11,
        at="2026-01-02T00:00:00Z",
        source=CATS_DATA,
        echo=PNG,
        x_provider=1,
    )
    assert type(back) is HumanMessage
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is said once for the class
        assert there_and_back(Shout("HELLO", id="2", at=AT, loudness=3)).loudness == 3
        assert there_and_back(back) == back
    assert Shout.model_validate(back.model_dump()).at == AT


def test_a_chunk_of_a_derived_class_is_kept_as_the_full_message():
    class Rated(AIMessageChunk):
        stars: int = 0

    with pytest.warns(UserWarning, match="Rated come back as AIMessageChunk"):
        back = there_and_back(Rated("Hi", id="1", stars=5, chunk_position="last"))
    assert type(back) is AIMessage
    assert back.__pydantic_extra__ == {"stars": 5}


def test_a_derived_class_with_its_own_type_comes_back_as_its_base():
    class Shout(HumanMessage):
        type: Literal["shout"] = "shout"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert there_and_back(Shout("HELLO", id="1")) == HumanMessage("HELLO", id="1")


def test_a_field_that_is_not_json_is_left_out_with_a_warning_and_the_turn_is_kept():
    class Traced(AIMessage):
        span: Any = None
        key: SecretStr = SecretStr("a secret")
        cost: float = 0.5

    with pytest.warns(UserWarning, match="the class Traced"):
        there_and_back(Traced("Hi", id="1"))
    with pytest.warns(
        UserWarning, match="'span' of a Traced is not kept: .* type object"
    ) as caught:
        back = there_and_back(Traced("Hi", id="1", span=object()))
    assert len(caught) == 1
    assert back == AIMessage("Hi", id="1", key="**********", cost=0.5)


def test_fields_are_kept_in_the_order_of_their_class():
    fields: dict[str, Any] = {f"field_{n}": (int, n) for n in range(20)}
    many = create_model("Many", __base__=HumanMessage, **fields)
    with pytest.warns(UserWarning, match="the class Many"):
        stored = to_session(many(content="x"))
    assert list(stored.extra["langchain"]["model_extra"]) == list(fields)
