"""The Streamlit example, run by Streamlit's own AppTest in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from servers.examples import EXAMPLES

from sessionstore import SQLiteSessionStore

# As Alice uses it: each step with what the page shows then.
STEPS = """
import sys

from streamlit.testing.v1 import AppTest

from sessionstore import SessionMessage, SQLiteSessionStore


def opened(token, **params):
    page = AppTest.from_file(sys.argv[1], default_timeout=120)
    page.query_params.update(params)
    page.run()
    assert [info.value for info in page.info] == ["Sign in."] and not page.chat_input
    page.sidebar.text_input[0].set_value(token).run()
    assert not page.exception, page.exception
    return page


def say(page, text):
    page.chat_input[0].set_value(text).run()
    assert not page.exception, page.exception


def button(page, label, place=0):
    return [button for button in page.button if button.label == label][place]


def click(page, label, place=0):
    button(page, label, place).click().run()
    assert not page.exception, page.exception


def shown(page):
    return [part.value for bubble in page.chat_message for part in [*bubble.text, *bubble.markdown]]


alice = opened("alice-token")
say(alice, "My name is *Alice*, Alice. My name is Alice.")
first = ["My name is *Alice*, Alice. My name is Alice.", "Nice to meet you, Alice!"]
assert shown(alice) == first, shown(alice)
title = r"My name is \\*Alice\\*\\, Alice\\. My name is Alice\\."
assert title in [button.label for button in alice.sidebar.button]
assert [caption.value for caption in alice.sidebar.caption] == [r"Nice to meet you\\, Alice\\!"]
say(alice, "What is my name?")
assert shown(alice) == [*first, "What is my name?", "Your name is Alice."], shown(alice)
chat = alice.query_params["chat"]

bob = opened("bob-token", chat=chat)
assert [error.value for error in bob.error] == ["This chat belongs to another user."]
assert not shown(bob) and not bob.sidebar.caption

click(alice, "Edit")
alice.text_area[0].set_value("My name is Eve.")
click(alice, "Replace")
assert shown(alice) == ["My name is Eve.", "Nice to meet you, Eve!"], shown(alice)
click(alice, "Again")
again = opened("alice-token", chat=chat)
assert shown(again) == shown(alice) == ["My name is Eve.", "Nice to meet you, Eve!"]

with SQLiteSessionStore("chats.db") as store:
    old = [SessionMessage("user", f"Message {n}") for n in range(50)]
    store.create("long", user_id="alice", messages=old)
click(again, "New chat")
assert not shown(again)
again.sidebar.button(key="open-long").click().run()
assert shown(again) == [f"Message {n}" for n in range(30, 50)], shown(again)
click(again, "Earlier messages")
assert shown(again) == [f"Message {n}" for n in range(10, 50)], shown(again)

# Clicks that come as one, because the page was still busy with another.
button(again, "Again").click()
again.sidebar.button(key=f"open-{chat}").click().run()
assert shown(again) == ["My name is Eve.", "Nice to meet you, Eve!"], shown(again)
again.sidebar.button(key="open-long").click().run()
button(again, "Again").click()
click(again, "Delete it, with all messages")
assert not again.error
assert not shown(again)
assert len(again.sidebar.caption) == 1
"""


@pytest.mark.soak
def test_a_chat_is_shown_edited_answered_again_paged_and_deleted(tmp_path: Path) -> None:
    page = EXAMPLES / "streamlit_chat.py"
    command = [sys.executable, "-c", STEPS, str(page)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    with SQLiteSessionStore(tmp_path / "chats.db") as store:
        [chat] = store.list_sessions(user_id="alice", last=10).sessions
    assert [one.content for one in chat.messages] == ["My name is Eve.", "Nice to meet you, Eve!"]
