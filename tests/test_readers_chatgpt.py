"""ChatGPT's export: a small conversations.json, in the form of the real ones."""

from __future__ import annotations

import json
from datetime import datetime, timezone

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from read_in import all_of, apart, store_of

from langchain_sessionstore import SessionChatMessageHistory
from sessionstore.transfer.readers import READERS, SourceError

BEGAN = 1_700_000_000.5
MOMENT = datetime.fromtimestamp(BEGAN, timezone.utc)


def said(name, role, content, **more):
    return {
        "id": name,
        "author": {"role": role, "name": more.pop("author", None), "metadata": {}},
        "create_time": BEGAN,
        "update_time": None,
        "content": content,
        "status": "finished_successfully",
        "end_turn": True,
        "weight": 1.0,
        "metadata": {"model_slug": "gpt-5"},
        "recipient": more.pop("recipient", "all"),
        "channel": None,
        **more,
    }


def text(*parts):
    return {"content_type": "text", "parts": list(parts)}


def tree(*messages, current=None, conversation="c1", **more):
    """Give a conversation of (message, its parent's id)."""
    nodes = {"root": {"id": "root", "message": None, "parent": None, "children": []}}
    for message, parent in messages:
        nodes[message["id"]] = {
            "id": message["id"],
            "message": message,
            "parent": parent,
            "children": [],
        }
        nodes[parent]["children"].append(message["id"])
    return {
        "title": "A cat",
        "create_time": BEGAN,
        "update_time": BEGAN + 60,
        "mapping": nodes,
        "current_node": current or messages[-1][0]["id"],
        "conversation_id": conversation,
        "id": conversation,
        **more,
    }


POINTER = {
    "content_type": "image_asset_pointer",
    "asset_pointer": "file-service://file-1",
    "size_bytes": 1,
    "width": 2,
    "height": 3,
    "metadata": None,
}
THOUGHTS = {"content_type": "thoughts", "thoughts": [{"summary": "Hm.", "content": "A cat?"}]}
CONVERSATION = tree(
    (said("m0", "system", text(""), weight=0.0), "root"),
    (said("m1", "user", text("What is 6 x 7? 🐈")), "m0"),
    (said("m2", "assistant", text("41.")), "m1"),
    (said("m3", "user", text("Again, with this:")), "m2"),
    (
        said(
            "m4",
            "user",
            {"content_type": "multimodal_text", "parts": [POINTER, "Count with Python."]},
        ),
        "m2",
    ),
    (said("m5", "assistant", THOUGHTS), "m4"),
    (
        said(
            "m6",
            "assistant",
            {"content_type": "code", "language": "unknown", "text": "print(6 * 7)"},
            recipient="python",
        ),
        "m5",
    ),
    (
        said("m7", "tool", {"content_type": "execution_output", "text": "42"}, author="python"),
        "m6",
    ),
    (said("m8", "assistant", {"content_type": "reasoning_recap", "content": "4s"}), "m7"),
    (said("m9", "assistant", {"content_type": "computer_output", "screenshot": {}}), "m8"),
    (said("m10", "assistant", text("42.")), "m9"),
)


@pytest.fixture
def exported(tmp_path):
    def write(*conversations):
        place = tmp_path / "conversations.json"
        place.write_text(json.dumps(conversations), encoding="utf-8")
        return place

    return write


def test_the_branch_that_is_shown_is_read_and_the_others_are_told(exported):
    sessions, unreadable = apart(READERS["chatgpt"](exported(CONVERSATION), user_id="alice"))
    session = sessions["c1"]
    assert [it.where for it in unreadable] == ["conversation 0"]
    assert "1 of its messages stand on other branches" in unreadable[0].why
    assert session.metadata == {"title": "A cat", "chatgpt": {"messages_on_other_branches": 1}}
    assert (session.user_id, session.created_at) == ("alice", MOMENT)
    assert (session.updated_at - MOMENT).total_seconds() == 60
    known = [(it.id, it.role, it.content) for it in session.messages]
    assert known == [
        ("m0", "system", ""),
        ("m1", "user", "What is 6 x 7? 🐈"),
        ("m2", "assistant", "41."),
        (
            "m4",
            "user",
            [
                {"type": "text", "text": "[image: file-service://file-1]"},
                {"type": "text", "text": "Count with Python."},
            ],
        ),
        ("m5", "assistant", [{"type": "reasoning", "reasoning": "Hm.\nA cat?"}]),
        ("m6", "assistant", ""),
        ("m7", "tool", "42"),
        ("m8", "assistant", "4s"),
        ("m9", "assistant", "[computer_output]"),
        ("m10", "assistant", "42."),
    ]
    call, result = session.messages[5:7]
    assert call.tool_calls == [{"name": "python", "args": {"input": "print(6 * 7)"}, "id": "m6"}]
    assert result.tool_call_id == "m6"
    assert session.messages[3].extra["chatgpt"]["content"]["parts"][0] == POINTER
    assert session.messages[1].extra["chatgpt"]["metadata"] == {"model_slug": "gpt-5"}


def test_langchain_goes_on_with_it(exported):
    straight = tree(*[(m, p) for m, p in pairs() if m["id"] != "m3"])
    read = SessionChatMessageHistory("c1", store_of(READERS["chatgpt"](exported(straight))))
    messages = read.messages
    assert isinstance(messages[1], HumanMessage)
    assert isinstance(messages[6], ToolMessage)
    assert isinstance(messages[5], AIMessage)
    assert messages[5].tool_calls[0]["id"] == messages[6].tool_call_id


def pairs():
    nodes = CONVERSATION["mapping"].values()
    return [(it["message"], it["parent"]) for it in nodes if it["message"]]


def test_a_second_reading_gives_the_same(exported):
    place = exported(CONVERSATION, tree((said("m1", "user", text("Hi")), "root"), conversation="2"))
    first, second = (apart(READERS["chatgpt"](place)) for _ in range(2))
    assert first == second
    assert list(first[0]) == ["c1", "2"]


@pytest.mark.parametrize("written", ["", "{", "{}", "7", '"x"', "[" * 90_000, "[1,", "\ufeff[]x"])
def test_what_is_no_export_is_refused(tmp_path, written):
    place = tmp_path / "conversations.json"
    place.write_text(written)
    with pytest.raises(SourceError, match=r"not the conversations\.json"):
        list(READERS["chatgpt"](place))
    with pytest.raises(FileNotFoundError):
        list(READERS["chatgpt"](tmp_path / "none.json"))


CIRCLE = {
    "id": "x",
    "mapping": {
        "a": {"parent": "b", "message": None},
        "b": {"parent": "a", "message": None},
    },
    "current_node": "a",
}
HOSTILE = [
    7,
    "secret",
    {},
    {"mapping": "secret"},
    {"mapping": {}, "current_node": "secret"},
    {"mapping": {"a": {}}, "current_node": ["a"]},
    CIRCLE,
    json.loads("[" * 400 + "]" * 400),
]
HOSTILE_MESSAGES = [
    "secret",
    7,
    {"id": "h"},
    {"id": "h", "author": "secret", "content": {}},
    {"id": "h", "author": {"role": "pirate"}, "content": text("secret")},
    {"id": "h", "author": {"role": ["user"]}, "content": text("secret")},
    {"id": "h", "author": {"role": "user"}, "content": "secret"},
    {"id": "h", "author": {"role": "user"}, "content": {"parts": ["secret"]}},
    {"id": "h", "author": {"role": "user"}, "content": text(7)},
    {"id": "h", "author": {"role": "user"}, "content": {**THOUGHTS, "thoughts": ["secret"]}},
    {"id": "h", "author": {"role": "user"}, "content": text("a"), "metadata": HOSTILE[-1]},
]


def test_what_is_no_conversation_is_named_and_the_rest_is_read(exported):
    good = tree((said("m1", "user", text("good")), "root"))
    sessions, unreadable = apart(READERS["chatgpt"](exported(*HOSTILE, good)))
    assert list(sessions) == ["c1"]
    assert [it.where for it in unreadable] == [f"conversation {n}" for n in range(len(HOSTILE))]
    assert not [it for it in unreadable if "secret" in it.where + it.why]


@pytest.mark.parametrize("message", HOSTILE_MESSAGES)
def test_what_is_no_message_is_named_and_the_rest_is_read(exported, message):
    given = tree((said("m1", "user", text("good")), "root"))
    node = {"id": "h", "message": message, "parent": "m1", "children": []}
    given["mapping"]["h"] = node
    given["current_node"] = "h"
    sessions, unreadable = apart(READERS["chatgpt"](exported(given)))
    assert [it.content for it in sessions["c1"].messages] == ["good"]
    assert [it.where for it in unreadable] == ["conversation 0, message 2"]
    assert not [it for it in unreadable if "secret" in it.where + it.why]


def test_times_that_are_none_are_left_out(exported):
    odd = {"create_time": None, "update_time": "secret"}
    given = tree((said("m1", "user", text("x"), create_time=10**30), "root"), **odd)
    session = all_of(READERS["chatgpt"](exported(given)))["c1"]
    assert session.created_at == session.updated_at == session.messages[0].created_at
