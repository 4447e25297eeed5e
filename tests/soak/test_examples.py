"""The examples in a real browser, and with Redis killed in the middle of a conversation.

Without Chromium this fails: what only a browser can prove is not proved by leaving it out.
"""

from __future__ import annotations

import httpx
from chat_client import ALICE, BOB, events, made, messages, say
from servers import redis
from servers.examples import fastapi_chat
from servers.process import folder, wait_until

from sessionstore import RedisSessionStore


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
        wait_until(lambda: is_recovered(alice), "the timer has replayed all")
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
