import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.base.llms.types import (
    ChatMessage,
    DocumentBlock,
    ImageBlock,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index_messages import PNG, any_message
from msgspec.structs import replace

from llama_index_sessionstore import (
    SessionChatStore,
    to_llama_index,
    to_session,
    to_session_messages,
)
from sessionstore import (
    CorruptMessageError,
    InMemorySessionStore,
    InvalidMessageError,
    SessionMessage,
)
from sessionstore.models import decode_message, encode_message


def there_and_back(message):
    return to_llama_index(decode_message(encode_message(to_session(message))))


def as_stored(message):
    """Give a message as the framework's own JSON gives it back: what is read once is bytes."""
    message = message.model_copy(deep=False)
    message.blocks = [
        type(block).model_validate(block.model_dump()) if _reads(block) else block
        for block in message.blocks
    ]
    return message


def _reads(block):
    values = block.__dict__.values()
    nested = [part for value in values for part in (value if type(value) is list else [value])]
    return any(
        isinstance(part, io.IOBase) or (hasattr(part, "block_type") and _reads(part))
        for part in nested
    )


def same(left, right):
    return (
        left == right
        and left.model_dump() == right.model_dump()
        and [type(block) for block in left.blocks] == [type(block) for block in right.blocks]
    )


@given(any_message)
def test_any_message_comes_back_equal(message):
    assert same(there_and_back(message), as_stored(message))


@given(any_message)
def test_a_message_that_was_read_is_stored_as_it_was(message):
    stored = decode_message(encode_message(replace(to_session(message), id="m1")))
    assert to_session(to_llama_index(stored)) is stored


@given(any_message, st.text(max_size=5))
def test_a_message_that_was_changed_is_stored_with_its_change(message, text):
    stored = decode_message(
        encode_message(replace(to_session(message), id="m1", metadata={"tag": 1}))
    )
    read = to_llama_index(stored)
    read.blocks = [*read.blocks, TextBlock(text=text)]
    changed = to_session(read)
    assert (changed.id, changed.metadata, changed.created_at) == (
        "m1",
        {"tag": 1},
        stored.created_at,
    )
    assert same(to_llama_index(decode_message(encode_message(changed))), read)


@pytest.mark.parametrize("role", list(MessageRole))
def test_each_role_comes_back(role):
    message = ChatMessage("Hello!", role=role)
    assert to_session(message).role == role.value
    assert there_and_back(message) == message


def test_a_plain_text_costs_nothing_more():
    stored = json.loads(encode_message(to_session(ChatMessage("Hello!"))))
    assert stored.keys() - {"v", "created_at"} == {"role", "content"}


def test_a_block_whose_file_is_gone_is_still_read(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    message = ChatMessage(blocks=[ImageBlock(path=path), DocumentBlock(path=path)])
    path.unlink()
    assert same(there_and_back(message), message)


def test_bytes_are_kept_as_the_framework_keeps_them():
    [block] = there_and_back(ChatMessage(blocks=[ImageBlock(image=PNG)])).blocks
    assert block == ImageBlock(image=PNG)
    assert block.resolve_image().read() == PNG


def test_a_stream_is_read_whole():
    [block] = there_and_back(ChatMessage(blocks=[ImageBlock(image=io.BytesIO(PNG))])).blocks
    assert block.resolve_image().read() == PNG


def test_keywords_that_are_models_are_stored_as_their_fields():
    call = ToolCallBlock(tool_name="f", tool_kwargs={"a": 1})
    message = there_and_back(ChatMessage("", additional_kwargs={"calls": [call], "raw": b"hi"}))
    assert message.additional_kwargs == {"calls": [call.model_dump()], "raw": b"hi"}


def test_a_value_that_json_cannot_hold_is_refused():
    with pytest.raises(InvalidMessageError, match="object"):
        encode_message(to_session(ChatMessage("", additional_kwargs={"x": object()})))


def test_encoding_refuses_what_is_no_message():
    with pytest.raises(InvalidMessageError, match="must be a ChatMessage, not str"):
        to_session("Hello!")


@pytest.mark.parametrize("given", [{"role": "user"}, None, ChatMessage("x")])
def test_decoding_refuses_what_is_no_stored_message(given):
    with pytest.raises(InvalidMessageError, match="must be a SessionMessage, not"):
        to_llama_index(given)


CALLS = [{"name": "f", "args": {}, "id": "c1"}]


def nested_citations(depth):
    block = {"block_type": "text", "text": "s3cret"}
    for _ in range(depth):
        block = {"block_type": "citable", "title": "", "source": "", "content": [block]}
    return block


@pytest.mark.parametrize(
    "damaged",
    [
        *("s3cret", 5, ["s3cret"]),
        *({"additional_kwargs": "s3cret"}, {"additional_kwargs": [1]}, {"declared": ["s3cret"]}),
        *({"blocks": [{"block": "s3cret"}]}, {"blocks": [{"call": 0, "and": "s3cret"}]}),
        {"blocks": [{"block": {"block_type": "image", "image": 5}}]},
        {"blocks": [{"block": {"block_type": "text", "text": "x", "declared": "s3cret"}}]},
        {"blocks": [{"block": nested_citations(1000)}]},
    ],
)
def test_data_that_no_codec_wrote_raises_corrupt_message_error(damaged):
    stored = SessionMessage("user", "x", tool_calls=CALLS, extra={"llama_index": damaged})
    with pytest.raises(CorruptMessageError, match=r"extra\['llama_index'\] is damaged") as caught:
        to_llama_index(stored)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("damaged", [5, [None], ["x"], [9], [{"content": 0, "and": 5}], [{}]])
def test_blocks_that_fit_no_content_are_passed_over(damaged):
    extra = {"llama_index": {"blocks": damaged}}
    assert to_llama_index(SessionMessage("user", "x", extra=extra)) == ChatMessage("x")


# -- Calls and results ----------------------------------------------------------------------------


def test_tool_calls_are_recognized_in_any_block():
    block = ToolCallBlock(tool_call_id="c1", tool_name="f", tool_kwargs='{"a": 1}')
    stored = to_session(ChatMessage(role="assistant", blocks=[block]))
    assert stored.tool_calls == [{"id": "c1", "name": "f", "args": {"a": 1}}]
    assert to_llama_index(stored).blocks == [block]


def test_tool_calls_among_the_keywords_are_recognized():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    message = ChatMessage(role="assistant", blocks=[], additional_kwargs={"tool_calls": [call]})
    stored = to_session(message)
    assert stored.tool_calls == [{"id": "c1", "name": "f", "args": {"a": 1}}]
    assert same(there_and_back(message), message)


def test_arguments_that_are_no_json_are_kept():
    block = ToolCallBlock(tool_name="f", tool_kwargs="{oops")
    stored = to_session(ChatMessage(role="assistant", blocks=[block]))
    assert stored.tool_calls == [{"id": None, "name": "f", "args": {"arguments": "{oops"}}]
    assert to_llama_index(stored).blocks == [block]


def test_a_tools_result_names_its_call():
    message = ChatMessage("sunny", role="tool", additional_kwargs={"tool_call_id": "c1"})
    assert to_session(message).tool_call_id == "c1"
    assert there_and_back(message) == message


# -- Later versions -------------------------------------------------------------------------------


def test_a_block_of_a_later_version_is_named_and_kept():
    later = {"block_type": "hologram", "title": "Cat", "depth": 3}
    stored = SessionMessage(
        "user", "[hologram: Cat]", id="m1", extra={"llama_index": {"blocks": [{"block": later}]}}
    )
    read = to_llama_index(stored)
    assert read.content == "[hologram: Cat]"
    assert to_session(read) is stored


def test_another_layout_of_a_known_block_is_named():
    later = {"block_type": "citation", "title": "Cat"}
    stored = SessionMessage("user", "x", extra={"llama_index": {"blocks": [{"block": later}]}})
    assert to_llama_index(stored).content == "[citation: Cat]"


def test_content_that_was_replaced_since_is_shown():
    message = ChatMessage(blocks=[TextBlock(text="1"), TextBlock(text="2"), TextBlock(text="3")])
    stored = to_session(
        ChatMessage(role="assistant", blocks=[*message.blocks, ToolCallBlock(tool_name="f")])
    )
    replaced = replace(stored, content="new", tool_calls=[])
    assert to_llama_index(replaced).blocks == [TextBlock(text="new")]


def test_ids_survive_copies():
    store = InMemorySessionStore()
    store.append_message("s1", SessionMessage("user", "Hello!", id="m1"))
    [message] = store.get_messages("s1")
    read = to_llama_index(message)
    assert to_session(read.model_copy()).id == to_session(read.model_copy(deep=True)).id == "m1"


@pytest.mark.parametrize("depth", [65, 980, 5000])
@pytest.mark.parametrize("place", ["kwargs", "tool call"])
def test_a_message_nested_too_deep_is_refused(depth, place):
    inmost: object = "s3cret"
    for _ in range(depth):
        inmost = [inmost]
    store = InMemorySessionStore()
    message = ChatMessage(role="assistant", content="x")
    if place == "kwargs":
        message.additional_kwargs["a"] = inmost
    else:
        message.blocks.append(ToolCallBlock(tool_name="n", tool_kwargs={"a": inmost}))
    with pytest.raises(InvalidMessageError, match="nested too deep") as caught:
        SessionChatStore(store).add_message("s", message)
    assert "s3cret" not in str(caught.value)
    assert store.get("s") is None


def test_a_llama_index_message_given_to_a_store_is_refused_with_how_to_convert_it():
    message = ChatMessage(content="Hello!")
    words = r"not ChatMessage: llama_index_sessionstore.to_session\(message\) makes one of it"
    with InMemorySessionStore() as store, pytest.raises(InvalidMessageError, match=words):
        store.append_message("s", message)
    with pytest.raises(InvalidMessageError, match=r"give \[message\]$"):
        to_session_messages(message)
