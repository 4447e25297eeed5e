"""The FastAPI example, served by uvicorn and asked by httpx."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from chat_client import ALICE, BOB, events, made, messages, say, texts
from servers import redis
from servers.examples import EXAMPLES, fastapi_chat
from servers.process import folder, wait_until

from sessionstore import RedisSessionStore


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with folder() as path:
        yield path


@pytest.fixture(scope="module")
def url(home: Path) -> Iterator[str]:
    with fastapi_chat(home, app="held_chat") as url:
        yield url


@pytest.fixture
def alice(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=ALICE, timeout=60) as client:
        yield client


def test_an_answer_is_streamed_while_it_is_made(alice: httpx.Client, home: Path) -> None:
    chat, name = made(alice), uuid4().hex
    with alice.stream(
        "POST", f"/chats/{chat}/messages", json={"text": f"Wait for {name}"}
    ) as response:
        told = events(response)
        assert next(told) == {"text": "Number"}
        assert not messages(alice, chat)  # the turn is saved as a whole, behind its last word
        (home / name).touch()
        *parts, last = told
    assert "".join(part["text"] for part in parts) == f" 1: Wait for {name}"
    assert last == {"saved": True}
    assert texts(alice, chat) == [f"Wait for {name}", f"Number 1: Wait for {name}"]


def test_what_came_is_saved_where_the_client_leaves(alice: httpx.Client, home: Path) -> None:
    chat = made(alice)
    with alice.stream(
        "POST", f"/chats/{chat}/messages", json={"text": "Wait for ever"}
    ) as response:
        assert next(events(response)) == {"text": "Number"}
    wait_until(lambda: texts(alice, chat) == ["Wait for ever", "Number"], "the turn is saved", 120)
    (home / "ever").touch()  # the model's thread ends, too


def test_another_users_chat_is_a_403_before_the_first_byte(alice: httpx.Client, url: str) -> None:
    chat = made(alice)
    say(alice, chat, "A secret.")
    [question, answer] = messages(alice, chat)
    question_path = f"/chats/{chat}/messages/{question['id']}"
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"/chats/{chat}/messages", None),
        ("POST", f"/chats/{chat}/messages", {"text": "Hello."}),
        ("PUT", question_path, {"text": "Hello."}),
        ("POST", f"/chats/{chat}/forks", {"at": answer["id"]}),
        ("DELETE", f"/chats/{chat}", None),
    ]
    for method, path, body in asked:
        refused = httpx.request(method, url + path, json=body, headers=BOB)
        assert refused.status_code == 403, path
        assert refused.json() == {"detail": "This chat belongs to another user."}
        assert httpx.request(method, url + path, json=body).status_code == 401
    assert httpx.get(f"{url}/chats", headers=BOB).json()["chats"] == []
    assert messages(alice, chat) == [question, answer]


def test_a_message_is_edited_and_answered_again(alice: httpx.Client) -> None:
    chat = made(alice)
    for text in ("One.", "Two.", "Three."):
        say(alice, chat, text)
    before = messages(alice, chat)
    question = before[2]["id"]
    assert say(alice, chat, "Another two.", question) == "Number 2: Another two."
    edited = messages(alice, chat)
    assert edited[:2] == before[:2]
    assert [one["text"] for one in edited[2:]] == ["Another two.", "Number 2: Another two."]
    assert say(alice, chat, "Another two.", question) == "Number 2: Another two."
    assert texts(alice, chat) == [one["text"] for one in edited]
    assert say(alice, chat, "A new one.", before[0]["id"]) == "Number 1: A new one."
    assert texts(alice, chat) == ["A new one.", "Number 1: A new one."]


def test_a_turn_whose_model_breaks_off_says_that_it_is_not_saved(alice: httpx.Client) -> None:
    chat = made(alice)
    say(alice, chat, "One.")
    before = messages(alice, chat)
    with alice.stream("POST", f"/chats/{chat}/messages", json={"text": "Break for me"}) as response:
        assert list(events(response)) == [{"text": "Number"}, {"saved": False}]
    assert messages(alice, chat) == before


def test_an_edit_whose_model_breaks_off_leaves_the_chat_as_it_was(alice: httpx.Client) -> None:
    chat = made(alice)
    for text in ("One.", "Two."):
        say(alice, chat, text)
    before = messages(alice, chat)
    path = f"/chats/{chat}/messages/{before[0]['id']}"
    with alice.stream("PUT", path, json={"text": "Break for me"}) as response:
        assert list(events(response))[-1] == {"saved": False}
    assert messages(alice, chat) == before


def test_a_question_that_is_sent_again_is_kept_once(alice: httpx.Client) -> None:
    chat = made(alice)
    for _ in range(2):
        body = {"text": "Once.", "id": "q1"}
        alice.post(f"/chats/{chat}/messages", json=body).raise_for_status()
    assert texts(alice, chat) == ["Once.", "Number 1: Once."]


def test_a_chat_is_forked_and_deleted(alice: httpx.Client) -> None:
    chat = made(alice)
    for text in ("One.", "Two."):
        say(alice, chat, text)
    first = messages(alice, chat)[:2]
    fork = alice.post(f"/chats/{chat}/forks", json={"at": first[1]["id"]}).json()["id"]
    assert alice.delete(f"/chats/{chat}").status_code == 204
    assert messages(alice, chat) == []
    assert messages(alice, fork) == first


def test_the_sidebar_shows_titles_and_previews_page_by_page(url: str) -> None:
    """As Bob, who has no other chats."""
    with httpx.Client(base_url=url, headers=BOB, timeout=60) as bob:
        chats = [made(bob, f"Title {number}") for number in range(25)]
        say(bob, chats[3], "Good morning.")
        first = bob.get("/chats").json()
        second = bob.get("/chats", params={"cursor": first["cursor"]}).json()
        shown = first["chats"] + second["chats"]
        for chat in chats:
            bob.delete(f"/chats/{chat}").raise_for_status()
    assert shown[0] == {"id": chats[3], "title": "Title 3", "preview": "Number 1: Good morning."}
    assert [chat["id"] for chat in shown[1:]] == [*chats[:3], *chats[4:]][::-1]
    assert (len(first["chats"]), second["cursor"]) == (20, None)


def test_older_messages_come_page_by_page(alice: httpx.Client) -> None:
    chat = made(alice)
    for number in range(12):
        say(alice, chat, f"Q{number}.")
    last = messages(alice, chat)
    older = messages(alice, chat, before=last[0]["id"])
    assert (len(last), len(older)) == (20, 4)
    assert [one["text"] for one in older + last][::2] == [f"Q{number}." for number in range(12)]


def test_what_is_not_there_or_not_valid_is_refused(alice: httpx.Client) -> None:
    chat = made(alice)
    statuses = {
        "message": alice.get(f"/chats/{chat}/messages", params={"before": "no"}).status_code,
        "cursor": alice.get("/chats", params={"cursor": "no"}).status_code,
        "empty": alice.post(f"/chats/{chat}/messages", json={"text": ""}).status_code,
        "id": alice.get(f"/chats/{'x' * 600}/messages").status_code,
        "message's id": alice.post(  # before the model is asked
            f"/chats/{chat}/messages", json={"text": "Hi.", "id": "x" * 600}
        ).status_code,
    }
    assert set(statuses.values()) == {422}, statuses
    for gone in (chat, uuid4()):
        assert alice.put(f"/chats/{gone}/messages/no", json={"text": "Hi."}).status_code == 404
        assert alice.post(f"/chats/{gone}/forks", json={"at": "no"}).status_code == 404


def test_health_comes_from_the_stores_counts(alice: httpx.Client) -> None:
    health = alice.get("/health").json()
    assert (health["degraded"], health["pending"], health["rejected"]) == (False, 0, 0)
    assert alice.get("/ready").json() == {"ready": True}


def test_no_example_puts_text_into_a_page_as_html() -> None:
    for path in EXAMPLES.glob("*.py"):
        code = path.read_text(encoding="utf-8")
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "unsafe_"):
            assert way not in code, path


@pytest.mark.soak
def test_a_chat_goes_on_while_redis_is_away_and_is_whole_afterwards() -> None:
    """Redis is killed within an answer, so that its turn is the first to be journaled."""
    with (
        redis.single(appendonly="yes", appendfsync="always") as server,
        folder() as home,
        fastapi_chat(home, server.url, app="held_chat") as url,
        httpx.Client(base_url=url, headers=ALICE, timeout=60) as alice,
    ):
        chat = made(alice)
        say(alice, chat, "One.")
        path = f"/chats/{chat}/messages"
        with alice.stream("POST", path, json={"text": "Wait for it"}) as response:
            told = events(response)
            assert next(told) == {"text": "Number"}
            server.kill()
            (home / "it").touch()
            assert list(told)[-1] == {"saved": True}
        assert say(alice, chat, "Three.") == "Number 3: Three."
        assert say(alice, chat, "Another three.", messages(alice, chat)[4]["id"])
        assert httpx.get(url + path, headers=BOB).status_code == 403
        assert [one["id"] for one in alice.get("/chats").json()["chats"]] == [chat]
        health = alice.get("/health").json()
        assert health["degraded"]
        assert health["since"]
        assert health["pending"] >= 1
        assert alice.get("/ready").is_success
        shown = messages(alice, chat)
        server.start()
        wait_until(lambda: is_recovered(alice), "the timer has replayed all", 120)
        assert messages(alice, chat) == shown
        with RedisSessionStore(server.url) as store:
            kept = store.get_messages(chat, user_id="alice")
    assert [(one.id, one.content) for one in kept] == [(one["id"], one["text"]) for one in shown]
    said = [one["text"] for one in shown]
    assert said[::2] == ["One.", "Wait for it", "Another three."]
    assert said[1::2] == [f"Number {n}: {text}" for n, text in enumerate(said[::2], 1)]


def is_recovered(client: httpx.Client) -> bool:
    health = client.get("/health").json()
    return not health["degraded"] and not health["pending"]
