"""A chat in one file: Streamlit, with a sidebar, and answers that are streamed.

    pip install 'sessionstore[langchain,redis]' streamlit
    SESSIONS=redis://localhost:6379 streamlit run streamlit_chat.py

Without ``SESSIONS`` the chats are in a file. Sign in with ``alice-token``.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
from contextlib import closing
from typing import Any

import streamlit as st
from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig

from langchain_sessionstore import with_session_history
from langchain_sessionstore.demo import OfflineChatModel
from langchain_sessionstore.testing import ScriptedChatModel
from sessionstore import (
    BoundSession,
    SessionAccessError,
    SessionMessage,
    SessionStore,
    Window,
    open_store,
)

PAGE_SIZE = 20
logger = logging.getLogger(__name__)

# In place of your application's own login, such as st.login: the user has to come from there.
TOKENS = {"alice-token": "alice", "bob-token": "bob"}


@st.cache_resource  # once per process: all of its threads and users share it
def open_chats() -> tuple[SessionStore, Runnable[Any, Any]]:
    """Open the store, and make the chain that remembers in it."""
    store = open_store(
        os.environ.get("SESSIONS", "sqlite:///chats.db"),
        fallback=os.environ.get("FALLBACK", "sqlite:///outage.db"),
    )
    atexit.register(store.close)  # which replays once more what waits
    # Yours goes here, such as init_chat_model("openai:…"). This one needs no key.
    model = ScriptedChatModel(OfflineChatModel().invoke, cycle=True)
    window = Window(max_messages=50)
    return store, with_session_history(model, store, user_scoped=True, window=window)


def current_user() -> str:
    """Give who is signed in; with st.login, that is ``st.user.email``."""
    token = st.sidebar.text_input("Token", type="password")
    user = TOKENS.get(token)
    if user is None:
        st.info("Sign in.")
        st.stop()
    return user


def show_chats(store: SessionStore, user: str) -> None:
    """List the user's chats in the sidebar, newest activity first, with titles and previews."""
    st.sidebar.button("New chat", on_click=open_chat)
    limit = st.session_state.setdefault("chats", PAGE_SIZE)
    page = store.list_sessions(user_id=user, limit=limit, last=1)
    for chat in page.sessions:
        title = chat.metadata.get("title", "New chat")
        st.sidebar.button(plain(title), key=f"open-{chat.id}", on_click=open_chat, args=(chat.id,))
        st.sidebar.caption(plain("".join(text_of(message)[:80] for message in chat.messages)))
    if page.cursor:
        st.sidebar.button("More chats", on_click=show_more, args=("chats",))


def open_chat(chat_id: str = "") -> None:
    """Choose a chat. Its id is in the address, so that it is open after a reload, too."""
    st.session_state.update(messages=PAGE_SIZE, edited=None)
    if chat_id:
        st.query_params["chat"] = chat_id
    else:
        st.query_params.clear()


def show_more(what: str) -> None:
    """Show a page more, of the chats or of the messages."""
    st.session_state[what] += PAGE_SIZE


def show_chat(chat: BoundSession, until: str | None = None) -> None:
    """Show the end of a chat, and a way back; nothing from a message on that is said anew."""
    limit = st.session_state.setdefault("messages", PAGE_SIZE)
    messages = chat.messages(limit=limit + 1)
    if len(messages) > limit:
        st.button("Earlier messages", on_click=show_more, args=("messages",))
    for message in messages[-limit:]:
        if message.id == until:
            return
        show_message(chat, message)
    questions = [message for message in messages if message.role == "user"]
    if questions:
        args = (chat, text_of(questions[-1]), questions[-1].id)
        st.button("Again", on_click=say, args=args)
    with st.popover("Delete chat"):
        st.button("Delete it, with all messages", on_click=delete_chat, args=(chat,))


def show_message(chat: BoundSession, message: SessionMessage) -> None:
    """Show a message. What a user wrote is shown as it is, and an answer as Markdown."""
    with st.chat_message(message.role):
        if message.role != "user":
            st.markdown(text_of(message))
        elif message.id == st.session_state.get("edited"):
            show_editor(chat, message)
        else:
            st.text(text_of(message))
            st.button("Edit", key=f"edit-{message.id}", on_click=edit, args=(message.id,))


def show_editor(chat: BoundSession, message: SessionMessage) -> None:
    """Let a message be replaced."""
    with st.form("editor"):
        st.text_area("Say instead", text_of(message), key="replacement")
        st.form_submit_button("Replace", on_click=replace, args=(chat, message.id))


def edit(message_id: str | None) -> None:
    """Note which message is edited."""
    st.session_state.edited = message_id


def replace(chat: BoundSession, message_id: str) -> None:
    """Note that a message is replaced by what the editor has."""
    edit(None)
    say(chat, st.session_state.replacement, message_id)


def say(chat: BoundSession, text: str, place: str) -> None:
    """Note what is to be said in a chat, and in place of which message."""
    st.session_state.said = chat.session_id, text, place


def delete_chat(chat: BoundSession) -> None:
    """Delete a chat."""
    chat.delete()
    open_chat()


def answer(chain: Runnable[Any, Any], chat: BoundSession, text: str, place: str | None) -> None:
    """Stream an answer; in the place of a message, what came behind it is gone once it is saved."""
    st.chat_message("user").text(text)
    config: RunnableConfig = {
        "configurable": {
            "session_id": chat.session_id,
            "user_id": chat.user_id,
            "rewind_to": place,
        }
    }
    chunks: Any = chain.stream([HumanMessage(text, id=place)], config)
    # Where the user clicks elsewhere meanwhile, what came until then is saved.
    with closing(chunks):
        st.chat_message("assistant").write_stream(chunk.text for chunk in chunks)


def text_of(message: SessionMessage) -> str:
    """Give the text of a message, which may be made of blocks."""
    if isinstance(message.content, str):
        return message.content
    return "".join(block.get("text", "") for block in message.content)


def plain(text: str) -> str:
    """Escape what Markdown would make something of."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


@st.fragment(run_every=2)
def show_health(store: SessionStore) -> None:
    """Replay what waits, on a timer, and tell while the store is away."""
    store.recover()
    if store.is_degraded():
        st.warning(f"The store is away: {store.stats().pending} writes wait here for it.")


def main() -> None:
    """Draw the page, as Streamlit asks for at each click."""
    store, chain = open_chats()
    user = current_user()
    chat_id = st.query_params.get("chat")
    said_in, *said = st.session_state.pop("said", (None, None, None))
    typed = st.chat_input("Say something")
    # Two clicks may come as one: what is said belongs to its chat, if that is still the open one.
    text, place = said if said_in == chat_id and not typed else (typed, None)
    if text and not chat_id:
        chat_id = store.create(user_id=user, metadata={"title": text[:60]}).id
        open_chat(chat_id)
    show_chats(store, user)
    if chat_id:
        chat = store.session(chat_id, user_id=user)
        show_chat(chat, until=place)
        if text:
            answer(chain, chat, text, place)
            st.rerun()  # the turn is saved, and so can be edited
    with st.sidebar:
        show_health(store)


try:
    main()
except SessionAccessError:
    st.error("This chat belongs to another user.")
except Exception:  # Streamlit would show the user a traceback
    logger.exception("a page was not drawn to its end")
    st.error("This failed: try again.")
