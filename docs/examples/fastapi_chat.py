"""A chat server in one file: FastAPI, streamed by server-sent events, with a page to try it.

    pip install 'sessionstore[langchain,redis]' fastapi uvicorn
    SESSIONS=redis://localhost:6379 python fastapi_chat.py

Without ``SESSIONS`` the chats are in a file. Open http://127.0.0.1:8000/#alice-token as Alice.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any

import anyio
import uvicorn
from fastapi import Body, Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from langchain_sessionstore import with_session_history
from langchain_sessionstore.demo import OfflineChatModel
from langchain_sessionstore.testing import ScriptedChatModel
from sessionstore import (
    BoundSession,
    InvalidMessageError,
    InvalidSessionError,
    SessionAccessError,
    SessionMessage,
    SessionNotFoundError,
    SessionStore,
    SessionStoreError,
    StoreUnavailableError,
    Window,
    open_store,
)

SESSIONS = os.environ.get("SESSIONS", "sqlite:///chats.db")
FALLBACK = os.environ.get("FALLBACK", "sqlite:///outage.db")
PAGE_SIZE = 20

logger = logging.getLogger(__name__)

# Yours goes here, such as init_chat_model("openai:…"). This one needs no key, and remembers names.
model = ScriptedChatModel(OfflineChatModel().invoke, cycle=True)


# -- From the start to the end ---------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store, and go on replaying what an outage left, until the server stops."""
    # In a thread: it reads the fallback's file, which another process may hold.
    store = await asyncio.to_thread(open_store, SESSIONS, fallback=FALLBACK)
    async with store, anyio.create_task_group() as tasks:
        app.state.store = store
        app.state.chain = with_session_history(
            model, store, user_scoped=True, window=Window(max_messages=50)
        )
        tasks.start_soon(recover, store)
        yield
        tasks.cancel_scope.cancel()


async def recover(store: SessionStore) -> None:
    """Replay what waits, at the start and then on a timer: an idle process replays nothing."""
    while True:
        try:
            await store.arecover()
        except SessionStoreError as error:
            logger.warning("could not recover: %s", error)
        await asyncio.sleep(2)


app = FastAPI(lifespan=lifespan)


# -- Who asks, and for what ------------------------------------------------------------------------

# In place of your application's own authentication, as is the function below: whatever you use, the
# user has to come from there, and never from a request's text or its address.
TOKENS = {"alice-token": "alice", "bob-token": "bob"}


def current_user(authorization: Annotated[str, Header()] = "") -> str:
    """Give the user whose token the request carries."""
    if user := TOKENS.get(authorization.removeprefix("Bearer ")):
        return user
    raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})


def current_store(request: Request) -> SessionStore:
    """Give the one store of this process."""
    store: SessionStore = request.app.state.store
    return store


User = Annotated[str, Depends(current_user)]
Store = Annotated[SessionStore, Depends(current_store)]


def current_chat(chat_id: str, user: User, store: Store) -> BoundSession:
    """Give a handle on the chat that names the user in each of its calls."""
    return store.session(chat_id, user_id=user)


Chat = Annotated[BoundSession, Depends(current_chat)]
Text = Annotated[str, Field(min_length=1, max_length=20_000)]


class Question(BaseModel):
    """What a user says. With an id of the client's own it may be sent again: it is kept once."""

    text: Text
    id: Annotated[str, Field(min_length=1, max_length=512)] | None = None


REFUSALS = (
    (SessionAccessError, 403, "This chat belongs to another user."),
    (SessionNotFoundError, 404, "There is no such chat or message."),
    (InvalidMessageError, 422, "There is no such message, or it is not valid."),
    (InvalidSessionError, 422, "This id or cursor is not valid."),
    (StoreUnavailableError, 503, "Try again."),  # even the fallback could not take it
)


@app.exception_handler(SessionStoreError)
async def refuse(request: Request, error: SessionStoreError) -> JSONResponse:
    """Answer with a status, and log why: an error of the store quotes nothing that users wrote."""
    logger.info("%s %s: %s", request.method, request.url.path, error)
    for kind, status, detail in REFUSALS:
        if isinstance(error, kind):
            return JSONResponse({"detail": detail}, status)
    raise error


# -- The sidebar, and paging back ------------------------------------------------------------------


@app.get("/chats")
async def list_chats(user: User, store: Store, cursor: str | None = None) -> dict[str, Any]:
    """List the user's chats, newest activity first, each with its title and a preview."""
    page = await store.alist_sessions(user_id=user, limit=PAGE_SIZE, cursor=cursor, last=1)
    chats = [
        {
            "id": chat.id,
            "title": chat.metadata.get("title", "New chat"),
            "preview": "".join(text_of(message)[:80] for message in chat.messages),
        }
        for chat in page.sessions
    ]
    return {"chats": chats, "cursor": page.cursor, "partial": page.partial}


@app.post("/chats", status_code=201)
async def create_chat(
    title: Annotated[Text, Body(embed=True)], user: User, store: Store
) -> dict[str, str]:
    """Make a chat: its id is the server's, so that nobody else can have taken it."""
    chat = await store.acreate(user_id=user, metadata={"title": title[:60]})
    return {"id": chat.id}


@app.get("/chats/{chat_id}/messages")
async def list_messages(chat: Chat, before: str | None = None) -> list[dict[str, str | None]]:
    """Give the last messages or, to page back, the last ones before a message."""
    return [
        {"id": message.id, "role": message.role, "text": text_of(message)}
        for message in await chat.amessages(limit=PAGE_SIZE, before=before)
    ]


@app.delete("/chats/{chat_id}", status_code=204)
async def delete_chat(chat: Chat) -> None:
    """Delete a chat."""
    await chat.adelete()


@app.post("/chats/{chat_id}/forks", status_code=201)
async def fork_chat(chat: Chat, at: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    """Make a new chat of the messages up to one of them, to try another way."""
    fork = await chat.afork(at=at)
    return {"id": fork.id}


def text_of(message: SessionMessage) -> str:
    """Give the text of a message, which may be made of blocks."""
    if isinstance(message.content, str):
        return message.content
    return "".join(block.get("text", "") for block in message.content)


# -- Turns, streamed -------------------------------------------------------------------------------


class EventStream(StreamingResponse):
    """The rest of a turn as server-sent events; closed at once where the client leaves."""

    def __init__(self, first: Any, chunks: Any) -> None:
        """Take a turn that has begun."""
        self.chunks = chunks
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events(first, chunks), 200, headers, "text/event-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. What came until the client left is saved."""
        async with aclosing(self.chunks):
            await super().__call__(scope, receive, send)


async def events(first: Any, chunks: Any) -> AsyncIterator[str]:
    """Give the text piece by piece, and then whether the turn is saved."""
    try:
        yield event(text=first.text)
        async for chunk in chunks:
            yield event(text=chunk.text)
        yield event(saved=True)
    except Exception:  # the status is out, so this is how the client learns of it
        logger.exception("a turn was not saved")
        yield event(saved=False)


def event(**data: Any) -> str:
    """Write one event."""
    return f"data: {json.dumps(data)}\n\n"


async def turn(
    request: Request, chat: BoundSession, question: HumanMessage, rewind_to: str | None = None
) -> EventStream:
    """Begin a turn. What refuses it, such as another's chat, comes before the first byte."""
    config: RunnableConfig = {
        "configurable": {
            "session_id": chat.session_id,
            "user_id": chat.user_id,
            "rewind_to": rewind_to,
        }
    }
    chunks = request.app.state.chain.astream([question], config)
    return EventStream(await anext(chunks), chunks)


@app.post("/chats/{chat_id}/messages")
async def ask(chat: Chat, question: Question, request: Request) -> EventStream:
    """Say something: the answer is streamed, and the turn is saved behind its last word."""
    return await turn(request, chat, HumanMessage(question.text, id=question.id))


@app.put("/chats/{chat_id}/messages/{message_id}")
async def edit(chat: Chat, message_id: str, question: Question, request: Request) -> EventStream:
    """Say something else in that place, or the same again: what came behind it is gone.

    It is gone in the step that saves the turn. Until then, or if it fails, all is as it was.
    """
    return await turn(request, chat, HumanMessage(question.text, id=message_id), message_id)


# -- Health ----------------------------------------------------------------------------------------


@app.get("/health")
async def health(store: Store) -> dict[str, Any]:
    """Tell a monitor how things stand. In an outage the chats go on, so this is no error."""
    stats = store.stats()
    return {
        "degraded": stats.is_degraded,
        "since": stats.degraded_since,
        "pending": stats.pending,
        "rejected": stats.rejected,
        "errors": stats.errors,
    }


@app.get("/ready")
async def ready(store: Store) -> dict[str, bool]:
    """Tell a load balancer whether calls are answered, by the store or by its fallback."""
    await store.aping()
    return {"ready": True}


# -- A page to try it ------------------------------------------------------------------------------


@app.get("/", response_class=HTMLResponse)
async def page() -> str:
    """Give the page. It shows what users wrote by textContent only: never as HTML."""
    return PAGE


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Chat</title>
<style>
  body { display: flex; margin: 0; height: 100vh; font: 16px/1.5 system-ui; }
  nav { width: 17em; padding: 1em; overflow: auto; background: #f3f3f3; color: #222; }
  nav div { padding: .4em 0; cursor: pointer; }
  nav small { display: block; overflow: hidden; white-space: nowrap; text-overflow: ellipsis; }
  .open { font-weight: bold; }
  main { flex: 1; display: flex; flex-direction: column; padding: 1em; max-width: 45em; }
  #messages { flex: 1; overflow: auto; }
  #messages p { white-space: pre-wrap; margin: .5em 0 0; }
  .user { font-weight: bold; }
  fieldset { display: flex; gap: .5em; margin: 0; border: 0; padding: 0; }
  #text { flex: 1; font: inherit; }
</style>
<nav><button id="new">New chat</button><section id="chats"></section></nav>
<main>
  <section id="messages"></section>
  <output id="status"></output>
  <form><fieldset disabled><!-- until the script is there to send -->
    <input id="text" required placeholder="Say something" autocomplete="off">
    <button id="send">Send</button><button id="delete" type="button">Delete chat</button>
  </fieldset></form>
</main>
<script type="module">
const token = location.hash.slice(1);  // in place of your login
const $ = id => document.getElementById(id);
let chat = null, editing = null;

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { "Authorization": `Bearer ${token}`, "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (!response.ok) {
    const { detail } = await response.json().catch(() => ({}));
    throw new Error(typeof detail === "string" ? detail : "This failed: try again.");
  }
  return response;
}
const get = async path => (await call("GET", path)).json();
const made = async (path, body) => (await (await call("POST", path, body)).json()).id;
const here = (rest = "", id = chat) => `/chats/${encodeURIComponent(id)}${rest}`;

function add(parent, tag, text, options = {}) {
  const element = Object.assign(document.createElement(tag), options);
  element.textContent = text;
  parent.append(element);
  return element;
}

// Runs what a click asks for, and says what went wrong.
const doing = action => async event => {
  event?.preventDefault();
  try {
    $("status").value = "";
    await action();
  } catch (error) {
    $("status").value = error.message;
  }
};

async function showChats(cursor = "") {
  const page = await get(`/chats${cursor && `?cursor=${encodeURIComponent(cursor)}`}`);
  if (!cursor) $("chats").replaceChildren();
  for (const { id, title, preview } of page.chats) {
    const entry = add($("chats"), "div", title, { onclick: doing(() => open(id)) });
    entry.className = id === chat ? "open" : "";
    add(entry, "small", preview);
  }
  if (page.cursor) {
    const more = add($("chats"), "button", "More", {
      onclick: doing(async () => { more.remove(); await showChats(page.cursor); }),
    });
  }
}

async function open(id) {
  chat = id;
  write();
  $("messages").replaceChildren();
  await Promise.all([id && showMessages(), showChats()]);
}

async function showMessages(before = "") {
  const id = chat;
  const found = await get(here(`/messages${before && `?before=${encodeURIComponent(before)}`}`));
  if (id !== chat) return;
  const box = document.createElement("div");
  if (found.length === PAGE_SIZE) {
    const earlier = add(box, "button", "Earlier", {
      onclick: doing(async () => { await showMessages(found[0].id); earlier.remove(); }),
    });
  }
  found.forEach((message, index) => showMessage(box, message, found[index - 1]));
  $("messages").prepend(box);
  if (!before) $("messages").scrollTop = $("messages").scrollHeight;
}

function showMessage(box, { id, role, text }, question) {
  const shown = add(box, "article", "", { id: `message-${id}` });
  add(shown, "p", text, { className: role });
  if (role === "user") add(shown, "button", "Edit", { onclick: () => write(id, text) });
  if (role !== "assistant") return;
  if (question?.role === "user")
    add(shown, "button", "Again", { onclick: doing(() => ask(question.text, question.id)) });
  add(shown, "button", "Fork", {
    onclick: doing(async () => open(await made(here("/forks"), { at: id }))),
  });
}

function write(id = null, text = "") {
  editing = id;
  $("text").value = text;
  $("text").focus();
  $("send").textContent = id ? "Replace" : "Send";
  $("delete").hidden = !chat;
}

async function ask(text, place = null) {
  chat ??= await made("/chats", { title: text });
  const id = chat;
  const response = place
    ? await call("PUT", here(`/messages/${encodeURIComponent(place)}`), { text })
    : await call("POST", here("/messages"), { text });
  write();
  if (place) dropFrom(place);
  add($("messages"), "p", text, { className: "user" });
  const answer = add($("messages"), "p", "");
  for await (const event of eventsOf(response)) {
    answer.textContent += event.text ?? "";
    if (event.saved === false) throw new Error("This was not saved: send it again.");
  }
  if (id === chat) await open(id);
  if ((await get("/health")).degraded) $("status").value = "Kept here until the store is back.";
}

function dropFrom(place) {
  const all = [...document.querySelectorAll("article")];
  const first = all.findIndex(one => one.id === `message-${place}`);
  all.slice(first).forEach(one => one.remove());
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const events = (rest + part.value).split("\\n\\n");
    rest = events.pop();
    for (const event of events) yield JSON.parse(event.replace("data: ", ""));
  }
}

$("new").onclick = doing(() => open(null));
$("delete").onclick = doing(async () => {
  if (!confirm("Delete this chat?")) return;
  await call("DELETE", here());
  await open(null);
});
document.querySelector("form").onsubmit = doing(() => ask($("text").value, editing));
document.querySelector("fieldset").disabled = false;
doing(() => open(null))();
</script>
""".replace("PAGE_SIZE", str(PAGE_SIZE))


if __name__ == "__main__":
    uvicorn.run(app)
