import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from sessionstore import SessionMessage
from sessionstore.binary import tag_bytes, untag_bytes
from sessionstore.models import decode_message, encode_message

HELD = {"sessionstore": {"bytes": True}}


def there_and_back(message):
    return untag_bytes(decode_message(encode_message(tag_bytes(message))))


keys = st.sampled_from(["$bytes", "$$bytes", "$$$bytes", "bytes", "$", "type"]) | st.text(
    max_size=3
)
values = st.recursive(
    st.binary(max_size=4) | st.text(max_size=4) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(keys, values, max_size=3)
messages = st.builds(
    SessionMessage,
    st.just("assistant"),
    st.text(max_size=3) | st.lists(objects, max_size=3),
    tool_calls=st.lists(
        st.fixed_dictionaries({"name": st.just("f"), "args": objects, "id": st.just("c")}),
        max_size=2,
    ),
    extra=st.dictionaries(st.sampled_from(["langchain", "llama_index"]), objects, max_size=2),
)


@given(messages)
def test_any_message_with_bytes_comes_back_equal(message):
    assert there_and_back(message) == message


def test_the_stored_form_is_base64_under_a_tag():
    message = SessionMessage("user", [{"type": "media", "data": b"hi"}], id="1")
    tagged = tag_bytes(message)
    assert tagged.content == [{"type": "media", "data": {"$bytes": "aGk="}}]
    assert tagged.extra == HELD
    assert (tagged.id, tagged.created_at) == (message.id, message.created_at)
    assert message.content == [{"type": "media", "data": b"hi"}]


class Digest(bytes):
    pass


class Buffer(bytearray):
    pass


@pytest.mark.parametrize(
    "binary",
    [
        *(bytearray(b"hi"), memoryview(b"hi"), memoryview(b"h-i-")[::2]),
        *(Digest(b"hi"), Buffer(b"hi")),
    ],
)
def test_every_kind_of_bytes_comes_back_as_bytes(binary):
    [block] = there_and_back(SessionMessage("user", [{"data": binary}])).content
    assert block == {"data": b"hi"}
    assert type(block["data"]) is bytes


@pytest.mark.parametrize(
    "data", [{"$bytes": "aGk="}, {"$$bytes": 1}, {"$bytes": b"hi"}, {"$bytes": {"$bytes": "aGk="}}]
)
def test_an_object_that_looks_like_a_tag_is_not_decoded(data):
    without = SessionMessage("user", [{"data": data}])
    beside = SessionMessage("user", [{"data": data, "more": b"x"}])
    assert there_and_back(without) == without
    assert there_and_back(beside) == beside


def test_a_message_without_bytes_is_the_same_one():
    mine = SessionMessage("user", [{"data": {"$bytes": "aGk="}}], extra={"langchain": {"x": "Ń"}})
    assert tag_bytes(mine) is mine
    assert untag_bytes(mine) is mine
    plain = SessionMessage("user", "hi")
    assert tag_bytes(plain) is plain
    assert untag_bytes(plain) is plain


@pytest.mark.parametrize(
    "stored",
    [5, None, "not base64!", "aGk", "é", ["aGk="], {"$bytes": 5}, {"__reduce__": ["os.system"]}],
)
def test_a_tag_with_invalid_base64_is_left_as_it_is_stored(stored):
    message = SessionMessage("user", [{"data": {"$bytes": stored}, "x": [1]}], extra=HELD)
    assert untag_bytes(message).content == message.content


def test_other_keys_under_our_name_are_kept():
    message = SessionMessage("user", [{"x": b"x"}], extra={"sessionstore": {"later": [b"y"]}})
    assert there_and_back(message) == message


@pytest.mark.parametrize("mark", [{}, {"bytes": False}, {"bytes": None}, {"later": True}])
def test_a_message_that_lists_no_bytes_is_not_decoded(mark):
    message = SessionMessage("user", [{"data": {"$bytes": "aGk="}}], extra={"sessionstore": mark})
    assert untag_bytes(message) is message


def test_blocks_arguments_and_extras_stay_objects():
    block = {"$bytes": "aGk="}
    call = {"name": "f", "args": block, "id": None}
    hostile = SessionMessage("user", [block], tool_calls=[call], extra={"langchain": block, **HELD})
    assert untag_bytes(hostile) == replace(hostile, extra={"langchain": block})


def test_data_that_contains_itself_is_left_for_the_store_to_refuse():
    ring = {"x": b"x"}
    ring["ring"] = ring
    message = SessionMessage("user", [ring])
    assert tag_bytes(message) is message


def test_data_nested_too_deep_is_left_as_it_is_stored():
    deep = {"$bytes": "aGk="}
    for _ in range(5000):
        deep = [deep]
    message = SessionMessage("user", [{"data": deep}], extra=HELD)
    assert untag_bytes(message) is message


def test_bytes_beside_a_number_beyond_64_bits_are_found():
    message = SessionMessage("user", [{"n": 2**70, "data": b"x"}])
    assert tag_bytes(message).content == [{"n": 2**70, "data": {"$bytes": "eA=="}}]
