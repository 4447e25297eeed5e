"""The pages of the examples in a real browser, with Redis killed in the middle.

Without Chromium this fails: what only a browser can prove is not proved by leaving it out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from chat_client import ALICE, made, say
from chromium import Browser, Page, chromium
from servers import redis
from servers.examples import fastapi_chat, streamlit_chat
from servers.process import wait_until
from servers.redis import Server

from sessionstore import RedisSessionStore, SessionMessage

# As HTML, and as Markdown: an image and a formula.
HOSTILE = "<img src=x onerror=\"document.title='no'\"> ![y](x.png) $z$ My name is Eve, *Eve*."
QUESTION = "What is my name?"


@pytest.fixture
def server() -> Iterator[Server]:
    with redis.single(appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def kept(server: Server) -> list[list[SessionMessage]]:
    """Give what Redis has of Alice's chats."""
    with RedisSessionStore(server.url) as store:
        return [chat.messages for chat in store.list_sessions(user_id="alice", last=100).sessions]


def said(server: Server) -> list[list[str]]:
    """Give what Redis has of Alice's chats, in words."""
    return [[str(message.content) for message in messages] for messages in kept(server)]


def button(label: str, place: int = 0) -> str:
    """Give the script for a button; the last of that label for -1. An icon is a line of its own."""
    is_it = f"one => one.innerText.trim().split('\\n')[0] == {label!r}"
    return f"[...document.querySelectorAll('button')].filter({is_it}).at({place})"


def same(found: str, expected: object) -> str:
    """Give the script that tells whether another one gives this."""
    return f"JSON.stringify({found}) == JSON.stringify({json.dumps(expected)})"


# -- FastAPI ---------------------------------------------------------------------------------------

FIELD = "document.querySelector('#text')"


def shows(page: Page, *messages: str) -> None:
    """Wait until the page shows these messages, and a field that is empty."""
    found = "[...document.querySelectorAll('article p')].map(p => p.textContent)"
    page.wait_for(same(found, messages))
    page.wait_for(f"!{FIELD}.value")


def lists(page: Page, *chats: tuple[str, str]) -> None:
    entry = "[div.firstChild.textContent, div.querySelector('small').textContent]"
    found = f"[...document.querySelectorAll('#chats div')].map(div => {entry})"
    page.wait_for(same(found, chats))


def test_the_fastapi_page(browser: Browser, server: Server, tmp_path: Path) -> None:
    with fastapi_chat(tmp_path, server.url) as url:
        page = browser.open(f"{url}/#alice-token")
        eve, alice = "Nice to meet you, Eve!", "Nice to meet you, Alice!"
        page.type(FIELD, HOSTILE)
        shows(page, HOSTILE, eve)
        lists(page, (HOSTILE[:60], eve))
        assert page.run("document.images.length") == 0
        assert page.run("document.title") == "Chat"
        page.type(FIELD, QUESTION)
        shows(page, HOSTILE, eve, QUESTION, "Your name is Eve.")

        server.kill()
        page.click(button("Edit"))
        assert page.run(f"{FIELD}.value") == HOSTILE
        page.type(FIELD, "My name is Alice.")
        shows(page, "My name is Alice.", alice)
        page.wait_for("document.querySelector('#status').value.startsWith('Kept here')")
        page.type(FIELD, QUESTION)
        talk = ["My name is Alice.", alice, QUESTION, "Your name is Alice."]
        shows(page, *talk)
        server.start()
        with httpx.Client(base_url=url) as client:
            page.wait_for("fetch('/health').then(r => r.json()).then(h => !h.pending)")
            assert said(server) == [talk]

            last = "[...document.querySelectorAll('article')].at(-1)?.id"
            answer = page.run(last)
            page.click(button("Again", -1))
            page.wait_for(f"({last}) != {answer!r}")
            shows(page, *talk)
            page.click(button("Fork"))
            shows(page, *talk[:2])
            lists(page, (HOSTILE[:60], alice), (HOSTILE[:60], talk[-1]))
            assert said(server) == [talk[:2], talk]
            page.click(button("Delete chat"))
            lists(page, (HOSTILE[:60], talk[-1]))
            assert said(server) == [talk]

            client.headers.update(ALICE)
            chat = made(client, "Long")
            for number in range(12):
                say(client, chat, f"{number}?")
        page.click(button("New chat"))
        page.wait_for("document.querySelector('#chats').innerText.startsWith('Long')")
        page.click("document.querySelector('#chats div')")
        page.wait_for("document.querySelectorAll('article').length == 20")
        page.click(button("Earlier"))
        page.wait_for("document.querySelectorAll('article').length == 24")
        first = page.run("document.querySelector('article p').textContent")
        assert (first, page.run(f"!!{button('Earlier')}")) == ("0?", False)

        other = browser.open(f"{url}/#bob-token")
        asked = "performance.getEntriesByType('resource').find(r => r.name.endsWith('/chats'))"
        other.wait_for(f"{asked}?.responseStatus == 200")
        assert other.run("document.querySelector('#chats').innerText") == ""


def test_nobody_types_before_the_script_is_there(browser: Browser, tmp_path: Path) -> None:
    page = browser.open("about:blank")
    page.call("Emulation.setScriptExecutionDisabled", value=True)  # as if it were still to come
    with fastapi_chat(tmp_path) as url:
        page.call("Page.navigate", url=f"{url}/#alice-token")
        page.wait_for(f"document.readyState == 'complete' && !!{FIELD}")
        controls = "[...document.querySelector('form').querySelectorAll('input, button')]"
        assert page.run(f"{controls}.map(one => one.matches(':disabled'))") == [True] * 3


# -- Streamlit -------------------------------------------------------------------------------------

CHAT_INPUT = "document.querySelector('[data-testid=stChatInput] textarea')"
LOGIN = "document.querySelector('[data-testid=stSidebar] input')"
SIDEBAR = "document.querySelector('[data-testid=stSidebar]').innerText"
BUBBLES = """[...document.querySelectorAll('[data-testid=stChatMessage]')].map(
    bubble => bubble.querySelector('[data-testid=stText], [data-testid=stMarkdown]')?.innerText
)"""
EDITOR = "document.querySelector('textarea[aria-label=\"Say instead\"]')"
IS_IDLE = "!document.querySelector('[data-testid=stStatusWidget]')"


def has(page: Page, *messages: str) -> None:
    """Wait until Streamlit's page shows these messages, and is drawn to its end."""
    page.wait_for(f"{same(BUBBLES, messages)} && {IS_IDLE}")


def test_the_streamlit_page(browser: Browser, server: Server, tmp_path: Path) -> None:
    with streamlit_chat(tmp_path, server.url) as url:
        page = browser.open(url)
        page.type(LOGIN, "alice-token")
        page.type(CHAT_INPUT, HOSTILE)
        eve, alice = "Nice to meet you, Eve!", "Nice to meet you, Alice!"
        has(page, HOSTILE, eve)
        page.wait_for(f"{SIDEBAR}.includes({json.dumps(HOSTILE[:60].strip())})")
        page.wait_for(f"{SIDEBAR}.includes({json.dumps(eve)})")
        assert page.run("document.images.length") == 0
        page.type(CHAT_INPUT, QUESTION)
        has(page, HOSTILE, eve, QUESTION, "Your name is Eve.")

        server.kill()
        page.click(button("Edit"))
        page.fill(EDITOR, "My name is Alice.")
        page.click(button("Replace"))
        has(page, "My name is Alice.", alice)
        page.wait_for(f"{SIDEBAR}.includes('The store is away')")
        page.type(CHAT_INPUT, QUESTION)
        talk = ["My name is Alice.", alice, QUESTION, "Your name is Alice."]
        has(page, *talk)
        server.start()
        page.wait_for(f"!{SIDEBAR}.includes('The store is away')")
        wait_until(lambda: said(server) == [talk], "Redis has the chat whole")

        page.reload()
        page.type(LOGIN, "alice-token")
        has(page, *talk)
        first = kept(server)
        page.click(button("Again"))
        wait_until(lambda: kept(server) != first, "it is answered again")
        has(page, *talk)
        page.click(button("Delete chat"))
        page.click(button("Delete it, with all messages"))
        has(page)
        wait_until(lambda: said(server) == [], "the chat is deleted")
