"""A client of the FastAPI example: what its page asks for, in Python."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx

ALICE, BOB = ({"Authorization": f"Bearer {name}-token"} for name in ("alice", "bob"))


def events(response: httpx.Response) -> Iterator[dict[str, Any]]:
    assert response.headers["content-type"].startswith("text/event-stream")
    for line in response.iter_lines():
        if line:
            yield json.loads(line.removeprefix("data: "))


def made(client: httpx.Client, title: str = "A title") -> str:
    return str(client.post("/chats", json={"title": title}).raise_for_status().json()["id"])


def say(client: httpx.Client, chat: str, text: str, place: str | None = None) -> str:
    """Take a turn, at its end or in the place of a message; give the answer."""
    path = f"/chats/{chat}/messages"
    method, path = ("PUT", f"{path}/{place}") if place else ("POST", path)
    with client.stream(method, path, json={"text": text}) as response:
        *parts, last = events(response.raise_for_status())
    assert last == {"saved": True}
    return "".join(part["text"] for part in parts)


def texts(client: httpx.Client, chat: str) -> list[str]:
    return [message["text"] for message in messages(client, chat)]


def messages(client: httpx.Client, chat: str, **params: str) -> list[dict[str, str]]:
    found = client.get(f"/chats/{chat}/messages", params=params).raise_for_status().json()
    return list(found)
