"""``sessionstore demo``: a conversation that survives a restart, and a store to try all else on."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Annotated

import typer

from sessionstore.cli.ending import Ending, Status
from sessionstore.cli.options import Store, StoreFile, Timeout, Yes
from sessionstore.cli.output import say, tell
from sessionstore.cli.places import ENVIRONMENT, open_at, url_given
from sessionstore.cli.transcript import transcript
from sessionstore.models import MessageLike
from sessionstore.store import SessionStore

__all__ = ["demo"]

_FILE = "sqlite:///sessionstore-demo.db"
_SESSION, _USER, _AGENT = "demo-alice", "alice", "travel"
_SEARCH = {"id": "call-1", "name": "search_trains", "args": {"from": "Lisbon", "to": "Porto"}}
_FOUND = "07:39, 08:09 and 09:39, each some three hours."
_TURNS: tuple[list[MessageLike], ...] = (
    [
        {"id": "1", "role": "user", "content": "My name is Alice. I want to go to Porto."},
        {"id": "2", "role": "assistant", "content": "Let me look.", "tool_calls": [_SEARCH]},
        {"id": "3", "role": "tool", "content": _FOUND, "tool_call_id": "call-1"},
        {"id": "4", "role": "assistant", "content": "There are trains at 07:39, 08:09 and 09:39."},
    ],
    [{"id": "5", "role": "user", "content": "What was my name?"}],
)


def demo(
    *,
    store: Store = None,
    store_file: StoreFile = None,
    turn: Annotated[int | None, typer.Option(min=1, max=2, hidden=True)] = None,
    timeout: Timeout = None,
    yes: Yes = False,  # noqa: ARG001 - every command takes it
) -> None:
    """Show a session that survives a restart.

    Two processes talk to it. The default store is a file in this folder. Run again, it adds
    nothing: each message has an id.
    """
    if turn is not None:
        with open_at(url_given(store, store_file), timeout, makes=True) as opened:
            _talk(opened, turn)
        return
    # What the environment names may be where real users are.
    is_given = store is not None or store_file is not None
    url = url_given(store, store_file) if is_given else _FILE
    for number in (1, 2):
        _in_a_process(number, url)
    with open_at(url, timeout) as opened:
        session = opened.get(_SESSION, user_id=_USER)
        for line in transcript(session) if session is not None else ():
            say(*line)
    say()
    say("Each turn was a process of its own: the second knew the name from the store alone.")
    if not is_given:
        tell(f"try: sessionstore ls --store {url}")
        tell(f"try: sessionstore show {_SESSION} --store {url}")


def _in_a_process(turn: int, url: str) -> None:
    command = [sys.executable, "-m", "sessionstore", "demo", "--turn", str(turn)]
    environment = {**os.environ, ENVIRONMENT: url}  # a password is in no list of processes
    if subprocess.run(command, env=environment, check=False).returncode:  # noqa: S603 - it is this program
        raise Ending(Status.FAILED, "the demo can't go on: a process of it failed")


def _talk(store: SessionStore, turn: int) -> None:
    """Say what belongs to a turn; the answer of the second knows what the first was told."""
    messages = _TURNS[turn - 1]
    if turn == len(_TURNS):
        said = " ".join(str(message.content) for message in store.get_messages(_SESSION))
        name = said.partition("My name is ")[2].partition(".")[0]
        answer = f"Your name is {name}." if name else "You have not told me your name."
        messages = [*messages, {"id": "6", "role": "assistant", "content": answer}]
    store.append_messages(_SESSION, messages, agent_id=_AGENT, user_id=_USER)
    if turn == 1:
        title = {"title": "A trip to Porto"}
        store.update(_SESSION, metadata=title, user_id=_USER)
