"""`AsyncSessionChatStore` beside LlamaIndex's own SQL store, and in its `Memory`."""

import ast
import asyncio
import gc
import json
import os
import signal
import textwrap
import threading
import time
import uuid
from itertools import chain

import pytest
from children import Children, finished
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from langchain_core.messages import HumanMessage
from llama_index.core.bridge.pydantic import Field
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.memory import (
    BaseMemoryBlock,
    ChatMemoryBuffer,
    FactExtractionMemoryBlock,
    Memory,
    StaticMemoryBlock,
    VectorMemoryBlock,
)
from llama_index.core.storage.chat_store.base_db import MessageStatus
from llama_index.core.storage.chat_store.sql import SQLAlchemyChatStore
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index_stores import KINDS, Counting, Loop, opened
from servers import redis as redis_servers
from sqlalchemy.ext.asyncio import create_async_engine

from langchain_sessionstore import SessionChatMessageHistory
from llama_index_sessionstore import AsyncSessionChatStore, SessionChatStore
from llama_index_sessionstore.archive import Archive
from llama_index_sessionstore.turns import Turns
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    RedisSessionStore,
    SessionAccessError,
    SessionMessage,
    SQLiteSessionStore,
    StoreUnavailableError,
    open_store,
)
from sessionstore.flow import play
from sessionstore.operations import DeleteMessages, Update

ACTIVE, ARCHIVED = MessageStatus.ACTIVE, MessageStatus.ARCHIVED
STATUSES = [ACTIVE, ARCHIVED, None]
A_MINUTE = 60.0


@pytest.fixture(params=KINDS)
def store(request):
    with opened(request.param, request) as store:
        yield store


@pytest.fixture
def run():
    loop = Loop()
    yield loop
    loop.close()


def said(messages):
    return [message.content for message in messages]


def numbers(first, last):
    return [str(n) for n in range(first, last)]


async def until(condition):
    """Let the other tasks go on until they have got so far."""
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    pytest.fail("they do not get so far")


def hold(store, count, archived=0, key="s"):
    """Let a session hold so many messages, the first of them archived."""
    messages = [SessionMessage("user", str(n), id=f"m{n}") for n in range(count)]
    store.append_messages(key, messages)
    if archived:
        chat_store = AsyncSessionChatStore(store)
        asyncio.run(chat_store.archive_oldest_messages(key, archived))


async def standing(chat_store, key="s"):
    """Give what is archived and what is active, having looked at it in every way there is."""
    active = said(await chat_store.get_messages(key, limit=10_000))
    archived = said(await chat_store.get_messages(key, ARCHIVED))
    assert said(await chat_store.get_messages(key)) == active
    assert said(await chat_store.get_messages(key, None)) == archived + active
    counts = [await chat_store.count_messages(key, status) for status in STATUSES]
    assert counts == [len(active), len(archived), len(active) + len(archived)]
    return archived, active


# -- Beside SQLAlchemyChatStore -------------------------------------------------------------------

keys = st.sampled_from(["a", "b"])
messages = st.builds(
    ChatMessage, st.text("xyz", max_size=2), role=st.sampled_from(["user", "assistant", "tool"])
)
batches = st.lists(messages, min_size=1, max_size=4)
statuses = st.sampled_from([ACTIVE, ARCHIVED])


class SideBySide(RuleBasedStateMachine):
    """LlamaIndex's store and ours: each call has the same outcome in both."""

    store = run = None

    @initialize()
    def begin(self):
        self.agent = uuid.uuid4().hex
        self.theirs = SQLAlchemyChatStore("t")
        self.ours = AsyncSessionChatStore(self.store, agent_id=self.agent)
        self.mixed = set()

    def both(self, name, key, *args):
        theirs = self.run(getattr(self.theirs, name)(key, *args))
        ours = self.run(getattr(self.ours, name)(f"{self.agent} {key}", *args))
        return theirs, ours

    def same(self, name, key, *args):
        theirs, ours = self.both(name, key, *args)
        assert theirs == ours

    @rule(key=keys, message=messages)
    def add(self, key, message):
        self.same("add_message", key, message)

    @rule(key=keys, given=batches, status=statuses)
    def add_some(self, key, given, status):
        if status is ARCHIVED:  # where those stand, theirs go by the clock
            self.mixed.add(key)
        self.same("add_messages", key, given, status)

    @rule(key=keys, given=st.lists(messages, max_size=4), status=statuses)
    def set(self, key, given, status):
        self.mixed.discard(key)
        self.same("set_messages", key, given, status)

    @rule(key=keys, n=st.integers(1, 6))
    def archive(self, key, n):
        self.same("archive_oldest_messages", key, n)

    @rule(key=keys, n=st.integers(1, 6))
    def delete_oldest(self, key, n):
        self.same("delete_oldest_messages", key, n)

    @rule(key=keys, status=st.sampled_from(STATUSES))
    def delete(self, key, status):
        self.same("delete_messages", key, status)

    @rule(
        key=keys,
        status=st.sampled_from(STATUSES),
        limit=st.none() | st.integers(0, 6),
        offset=st.none() | st.integers(0, 6),
    )
    def read(self, key, status, limit, offset):
        by_clock = status is not ACTIVE and key in self.mixed
        part = [] if by_clock else [limit, offset]
        theirs, ours = self.both("get_messages", key, status, *part)
        if by_clock:
            theirs, ours = sorted(theirs, key=str), sorted(ours, key=str)
        assert theirs == ours

    @rule(key=keys, status=st.sampled_from(STATUSES))
    def count(self, key, status):
        self.same("count_messages", key, status)

    @invariant()
    def keys_are_the_same(self):
        if hasattr(self, "ours"):
            ours = [key.removeprefix(f"{self.agent} ") for key in self.run(self.ours.get_keys())]
            assert sorted(ours) == sorted(self.run(self.theirs.get_keys()))

    def teardown(self):
        if hasattr(self, "theirs"):
            self.run(self.theirs._async_engine.dispose())


@pytest.mark.soak
def test_every_call_has_the_same_outcome_as_in_llama_indexs_sql_store(store, run):
    machine = type("Machine", (SideBySide,), {"store": store, "run": staticmethod(run)})
    many = isinstance(store, InMemorySessionStore)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=10 if many else 2,
            stateful_step_count=20,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_a_message_is_deleted_at_its_position_among_the_active(store, run):
    hold(store, 6, archived=2)
    chat_store = AsyncSessionChatStore(store)
    deleted = [run(chat_store.delete_message("s", place)) for place in (1, -1, -3, 2)]
    assert [message and message.content for message in deleted] == ["3", "5", None, None]
    assert run(standing(chat_store)) == (["0", "1"], ["2", "4"])


def test_a_status_may_be_given_by_its_value(store, run):
    chat_store = AsyncSessionChatStore(store)
    run(chat_store.add_message("s", ChatMessage("1"), "active"))
    run(chat_store.add_messages("s", [ChatMessage("0")], "archived"))
    assert run(standing(chat_store)) == (["0"], ["1"])
    assert run(chat_store.count_messages("s", "archived")) == 1
    assert run(chat_store.count_messages("s", "active")) == 1
    assert said(run(chat_store.get_messages("s", "archived"))) == ["0"]
    assert said(run(chat_store.get_messages("s", "active", 5))) == ["1"]
    run(chat_store.delete_messages("s", "archived"))
    assert run(standing(chat_store)) == ([], ["1"])
    run(chat_store.set_messages("s", [ChatMessage("2")], "archived"))
    assert run(standing(chat_store)) == (["2"], [])


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("get_messages", ["old"]),
        ("count_messages", ["old"]),
        ("add_message", [ChatMessage("x"), "old"]),
        ("add_messages", [[ChatMessage("x")], "old"]),
        ("set_messages", [[ChatMessage("x")], "old"]),
        ("delete_messages", ["old"]),
    ],
)
def test_an_invalid_status_is_refused(run, name, given):
    store = InMemorySessionStore()
    hold(store, 2)
    with pytest.raises(ValueError, match="old"):
        run(getattr(AsyncSessionChatStore(store), name)("s", *given))
    assert len(store.get_messages("s")) == 2


def test_another_users_session_is_closed_to_every_method(store, run):
    store.append_messages("s", [SessionMessage("user", "mine", id="1")], user_id="alice")
    mallory = AsyncSessionChatStore(store, user_id="mallory")
    x = ChatMessage("x")
    for name, args in {
        "get_messages": [],
        "count_messages": [],
        "add_message": [x],
        "add_messages": [[x], ARCHIVED],
        "set_messages": [[x]],
        "delete_message": [0],
        "delete_messages": [],
        "delete_oldest_messages": [1],
        "archive_oldest_messages": [1],
    }.items():
        with pytest.raises(SessionAccessError):
            run(getattr(mallory, name)("s", *args))
    assert run(mallory.get_keys()) == []
    assert run(standing(AsyncSessionChatStore(store, user_id="alice"))) == ([], ["mine"])


def test_a_store_that_is_no_session_store_is_refused():
    with pytest.raises(TypeError, match="must be a SessionStore, not str"):
        AsyncSessionChatStore("redis://localhost")


def test_a_dump_of_a_memory_says_nothing_of_its_store(run):
    with open_store("redis://user:hunter2@127.0.0.1:1/0", fallback=None) as closed:
        chat_store = AsyncSessionChatStore(closed)
        memory = Memory.from_defaults(session_id="s", chat_store=chat_store, token_limit=500)
        dump = memory.to_dict()
        texts = [memory.model_dump_json(), repr(memory), str(memory)]
        texts += [
            json.dumps(dump, default=str),
            chat_store.model_dump_json(),
            repr(chat_store),
            str(chat_store),
        ]
    assert not any("hunter2" in text or "127.0.0.1" in text for text in texts)
    chat_store = AsyncSessionChatStore(InMemorySessionStore())
    # LlamaIndex can't read its own template back.
    handed_in = {"sql_store": chat_store, "memory_blocks_template": memory.memory_blocks_template}
    loaded = Memory.from_dict(json.loads(texts[0]), **handed_in)
    run(loaded.aput(ChatMessage("Hello!")))
    assert (loaded.session_id, loaded.token_limit) == ("s", 500)
    assert said(run(chat_store.get_messages("s"))) == ["Hello!"]


# -- What a call costs ----------------------------------------------------------------------------


def test_no_call_reads_or_writes_more_than_it_needs(run):
    store = Counting()
    hold(store, 2_000, archived=1_980)
    chat_store = AsyncSessionChatStore(store)
    run(chat_store.get_messages("s"))
    for most, name, *args in [
        (0, "count_messages"),
        (0, "count_messages", ARCHIVED),
        (0, "count_messages", None),
        (1, "add_message", ChatMessage("x")),
        (32, "get_messages"),
        (5, "get_messages", ACTIVE, 3, 2),
        (5, "get_messages", ARCHIVED, 3, 2),
        (5, "get_messages", None, 3, 2),
        (3, "archive_oldest_messages", 3),
        (3, "delete_oldest_messages", 3),
        (32, "delete_message", 0),
    ]:
        store.forget()
        run(getattr(chat_store, name)("s", *args))
        assert store.handed <= most, name
        assert store.written == (name == "add_message"), name
        assert len(store.requests) <= 3, name


def test_the_cost_of_a_put_follows_the_active_messages(run):
    store = Counting()
    hold(store, 2_000, archived=1_700)
    memory = Memory.from_defaults(
        session_id="s",
        chat_store=AsyncSessionChatStore(store),
        tokenizer_fn=str.split,
        token_limit=400,
        token_flush_size=20,
    )
    for n in range(15):
        run(memory.aput(ChatMessage(f"{n}")))
        if n:  # the first does not know yet how many are active
            assert store.handed <= 340
            assert store.requests.count("get_messages") <= 1
        store.forget()


# -- Each message to one caller -------------------------------------------------------------------

HANDED = ["archive_oldest_messages", "delete_oldest_messages"]


@pytest.mark.parametrize("name", HANDED)
def test_each_message_is_handed_to_one_of_many_tasks(store, run, name):
    hold(store, 30)
    chat_store = AsyncSessionChatStore(store)

    async def everyone():
        takers = (getattr(chat_store, name)("s", n % 3 + 1) for n in range(12))
        return await asyncio.gather(*takers)

    handed = run(everyone())
    assert sorted(chain.from_iterable(map(said, handed)), key=int) == numbers(0, 24)
    assert run(standing(chat_store))[1] == numbers(24, 30)


@pytest.mark.parametrize("name", HANDED)
def test_each_message_is_handed_to_one_of_many_threads(store, name):
    hold(store, 30)
    chat_store = AsyncSessionChatStore(store)
    handed = []

    async def take():
        for n in range(4):
            handed.extend(said(await getattr(chat_store, name)("s", n % 3 + 1)))
            handed.extend(said(await chat_store.get_messages("s", limit=0)))

    threads = [threading.Thread(target=asyncio.run, args=(take(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(handed, key=int) == numbers(0, 21)
    assert asyncio.run(standing(chat_store))[1] == numbers(21, 30)


TAKE = """
    import asyncio, sys

    from llama_index_sessionstore import AsyncSessionChatStore
    from sessionstore import SQLiteSessionStore

    async def take(path):
        taken = {"archive": [], "delete": []}
        with SQLiteSessionStore(path, timeout=60) as store:
            chat_store = AsyncSessionChatStore(store)
            found = True
            while found:
                for name in taken:
                    method = getattr(chat_store, f"{name}_oldest_messages")
                    found = await method("s", 2)
                    taken[name] += [message.content for message in found]
        return taken
"""


@pytest.mark.soak
def test_each_message_is_handed_to_one_of_two_processes(tmp_path):
    path = tmp_path / "sessions.db"
    mine = {}
    exec(textwrap.dedent(TAKE), mine)  # noqa: S102 - what the child does, too
    program = textwrap.dedent(TAKE) + "print('ready', input(), flush=True)\n"
    program += "print(asyncio.run(take(sys.argv[1])))"
    with SQLiteSessionStore(path) as store, Children() as children:
        hold(store, 80)
        child = children.start(program, path)
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "ready go\n"
        taken = asyncio.run(mine["take"](path))
        theirs = ast.literal_eval(finished(child))
        everything = [one for by in (taken, theirs) for kind in by.values() for one in kind]
        assert sorted(everything, key=int) == numbers(0, 80)
        archived, active = asyncio.run(standing(AsyncSessionChatStore(store)))
        assert sorted(archived, key=int) == sorted(taken["archive"] + theirs["archive"], key=int)
        assert active == []


# -- Memory: each archived message once to each block ---------------------------------------------


class Keeping(BaseMemoryBlock[str]):
    """A block that keeps what it is given, and may do something else with it."""

    kept: list = Field(default_factory=list)
    also: object = None

    async def _aget(self, *_, **__):
        return ""

    async def _aput(self, messages):
        await asyncio.sleep(0)
        if self.also:
            await self.also(messages)
        self.kept += said(messages)


def memory_of(chat_store, *blocks, flush=3, key="s"):
    """Give a memory in which some seven messages of a word each have their place."""
    return Memory.from_defaults(
        session_id=key,
        chat_store=chat_store,
        memory_blocks=list(blocks),
        tokenizer_fn=str.split,
        token_limit=10,
        token_flush_size=flush,
    )


def require_once(chat_store, blocks, count):
    """Require each archived message once in each block, and none lost."""

    async def require():
        archived = said(await chat_store.get_messages("s", ARCHIVED))
        active = said(await chat_store.get_messages("s"))
        assert sorted(archived + active, key=int) == numbers(0, count)
        for block in blocks:
            assert sorted(block.kept, key=int) == sorted(archived, key=int)
        return archived

    return require()


async def put_at_once(chat_store, first, last, **options):
    blocks = [Keeping(name=name, kept=[]) for name in ("one", "two")]
    memory = memory_of(chat_store, *blocks, **options)
    await asyncio.gather(*(memory.aput(ChatMessage(str(n))) for n in range(first, last)))
    assert await require_once(chat_store, blocks, last)


@pytest.mark.parametrize("flush", [1, 3], ids=["in several rounds", "at once"])
def test_twelve_concurrent_puts_hand_each_message_out_once(store, run, flush):
    hold(store, 7)
    run(put_at_once(AsyncSessionChatStore(store), 7, 19, flush=flush))


@pytest.mark.xfail(strict=True, raises=AssertionError, reason="some are handed out twice, or never")
def test_twelve_concurrent_puts_with_llama_indexs_own_store_hand_each_message_out_once(
    tmp_path, run
):
    async def put():
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'theirs.db'}")
        try:
            theirs = SQLAlchemyChatStore("t", async_engine=engine)
            await theirs.add_messages("s", [ChatMessage(str(n)) for n in range(7)])
            await put_at_once(theirs, 7, 19)
        finally:
            await engine.dispose()

    run(put())


def test_twelve_threads_that_put_at_once_hand_each_message_out_once(store):
    hold(store, 7)
    chat_store = AsyncSessionChatStore(store)
    blocks = [Keeping(name="one", kept=[])]
    memory = memory_of(chat_store, *blocks)
    threads = [
        threading.Thread(target=lambda n=n: asyncio.run(memory.aput(ChatMessage(str(n)))))
        if n % 2
        else threading.Thread(target=memory.put, args=(ChatMessage(str(n)),))
        for n in range(7, 19)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert asyncio.run(require_once(chat_store, blocks, 19))


def test_memories_of_the_same_store_take_turns_too(run):
    store = InMemorySessionStore()
    hold(store, 7)
    block = Keeping(name="one", kept=[])

    async def put():
        memories = [memory_of(AsyncSessionChatStore(store), block) for _ in range(12)]
        await asyncio.gather(
            *(memory.aput(ChatMessage(str(n))) for n, memory in enumerate(memories, 7))
        )
        assert await require_once(AsyncSessionChatStore(store), [block], 19)

    run(put())


def test_a_memory_block_that_raises_blocks_no_other_caller(run):
    chat_store = AsyncSessionChatStore(InMemorySessionStore())
    failures = []

    async def fail(messages):
        if len(failures) < 2:
            failures.append(said(messages))
            raise LookupError

    block = Keeping(name="one", kept=[], also=fail)
    memory = memory_of(chat_store, block)

    async def put():
        puts = [asyncio.create_task(memory.aput(ChatMessage(str(n)))) for n in range(24)]
        done = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), A_MINUTE / 4)
        block.kept += chain.from_iterable(failures)
        assert await require_once(chat_store, [block], 24)
        return [type(error) for error in done if error]  # the errors are kept that long

    assert run(put()) == [LookupError] * 2


def test_an_error_that_is_kept_blocks_no_other_caller(run):
    chat_store = AsyncSessionChatStore(InMemorySessionStore())
    errors = []

    async def fail(_):
        if not errors:
            raise LookupError

    block = Keeping(name="one", kept=[], also=fail)
    memory = memory_of(chat_store, block)

    async def put():
        for n in range(12):
            try:
                await memory.aput(ChatMessage(str(n)))
            except LookupError as error:
                errors.append(error)
        return said(await memory.aget())

    began = time.monotonic()
    assert run(put())[-1] == "11"
    assert time.monotonic() - began < A_MINUTE / 4


def test_a_caller_cancelled_while_waiting_leaves_the_turn_to_others(run):
    chat_store = AsyncSessionChatStore(InMemorySessionStore())
    let_go = asyncio.Event()
    blocks = [Keeping(name="one", kept=[], also=lambda _: let_go.wait())]
    memory = memory_of(chat_store, *blocks)

    async def put():
        hold(chat_store._store, 0)
        puts = [asyncio.create_task(memory.aput(ChatMessage(str(n)))) for n in range(20)]
        await until(lambda: any(turn.lasts for turn in chat_store._turns._held.values()))
        for _ in range(5):
            await asyncio.sleep(0)
        waiting = [one for one in puts if not one.done()]
        for one in waiting[2::2]:
            one.cancel()
        let_go.set()
        done = await asyncio.wait_for(asyncio.gather(*puts, return_exceptions=True), A_MINUTE / 4)
        assert {type(error) for error in done if error} == {asyncio.CancelledError}
        assert not chat_store._turns._waiting
        assert await require_once(chat_store, blocks, 20)

    run(put())


class Slow(InMemorySessionStore):
    """A store that takes its time to move the mark, before and after it does so."""

    moving = False

    async def arun(self, operation):
        updates = isinstance(operation, Update)
        if updates:
            self.moving = True
            await self._pause()
        result = await super().arun(operation)
        if updates:
            await self._pause()
            self.moving = False
        return result

    async def _pause(self):
        for _ in range(4):
            await asyncio.sleep(0)


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("steps", range(8))
def test_a_caller_cancelled_while_archiving_loses_no_message(run, steps, twice):
    store = Slow()
    chat_store = AsyncSessionChatStore(store)
    blocks = [Keeping(name="one", kept=[])]
    memory = memory_of(chat_store, *blocks)

    async def put():
        await chat_store.add_messages("s", [ChatMessage(str(n)) for n in range(9)])
        one = asyncio.create_task(memory.aput(ChatMessage("9")))
        await until(lambda: store.moving)
        for _ in range(steps):
            await asyncio.sleep(0)
        assert store.moving
        for _ in range(1 + twice):
            one.cancel()
            await asyncio.sleep(0)
        await asyncio.wait([one])
        assert one.cancelled()
        await until(lambda: not store.moving)
        await asyncio.gather(*(memory.aput(ChatMessage(str(n))) for n in range(10, 14)))
        assert await require_once(chat_store, blocks, 14)

    run(put())


def test_a_memory_block_may_read_the_memory_that_calls_it(store, run):
    chat_store = AsyncSessionChatStore(store)
    seen = []

    async def look(_):
        seen.append(said(await memory.aget()))
        await asyncio.to_thread(memory.get)

    blocks = [Keeping(name="one", kept=[], also=look), Keeping(name="two", kept=[], also=look)]
    memory = memory_of(chat_store, *blocks)

    async def put():
        puts = (memory.aput(ChatMessage(str(n))) for n in range(18))
        await asyncio.wait_for(asyncio.gather(*puts), A_MINUTE / 2)
        assert await require_once(chat_store, blocks, 18)

    run(put())
    assert seen


def test_tasks_started_by_a_caller_that_keeps_what_it_read_take_turns(run):
    store = InMemorySessionStore()
    chat_store = AsyncSessionChatStore(store)
    blocks = [Keeping(name="one", kept=[])]
    memory = memory_of(chat_store, *blocks)

    async def put():
        await chat_store.add_messages("s", [ChatMessage(str(n)) for n in range(9)])
        kept = await chat_store.get_messages("s")
        blocks[0].kept += said(await chat_store.archive_oldest_messages("s", 2))
        await asyncio.wait_for(
            asyncio.gather(*(memory.aput(ChatMessage(str(n))) for n in range(9, 21))), A_MINUTE / 4
        )
        assert await require_once(chat_store, blocks, 21)
        again = await chat_store.get_messages("s")
        assert said(again) == numbers(len(blocks[0].kept), 21)
        return kept

    assert len(run(put())) == 9


def test_a_caller_that_never_releases_its_turn_is_waited_for_up_to_a_limit(run):
    store = InMemorySessionStore()
    chat_store = AsyncSessionChatStore(store)
    chat_store._turns.patience = 0.05

    async def keep(forever):
        kept = await chat_store.get_messages("s")
        await chat_store.archive_oldest_messages("s", 1)
        await forever.wait()
        # What was read is worked off, and nothing else: others have gone on meanwhile.
        assert said(await chat_store.archive_oldest_messages("s", 1)) == []
        assert said(await chat_store.archive_oldest_messages("s", 1)) == ["2"]
        return kept

    async def go():
        await chat_store.add_messages("s", [ChatMessage(str(n)) for n in range(9)])
        forever = asyncio.Event()
        one = asyncio.create_task(keep(forever))
        await until(lambda: "s" in chat_store._turns._held)
        await chat_store.add_message("s", ChatMessage("9"))
        assert said(await asyncio.wait_for(chat_store.get_messages("s"), 5)) == numbers(1, 10)
        assert said(await chat_store.archive_oldest_messages("s", 1)) == ["1"]
        forever.set()
        await one
        await asyncio.sleep(0)
        assert not chat_store._turns._held
        assert not chat_store._turns._waiting

    run(go())


class Pausing(InMemorySessionStore):
    """A store whose callers go on together."""

    async def arun(self, operation):
        await asyncio.sleep(0)
        return await super().arun(operation)


def test_a_reader_does_not_wait_for_a_caller_that_keeps_what_it_read(run):
    chat_store = AsyncSessionChatStore(Pausing())
    forever = asyncio.Event()

    async def keep():
        kept = await chat_store.get_messages("s")
        taken = said(await chat_store.archive_oldest_messages("s", 1))
        await forever.wait()
        taken += said(await chat_store.archive_oldest_messages("s", 1))
        return taken, len(kept)

    async def read():
        return said(await asyncio.wait_for(chat_store.get_messages("s"), A_MINUTE / 6))

    async def take():
        read = await chat_store.get_messages("s")
        return said(read), said(await chat_store.archive_oldest_messages("s", 2))

    async def go():
        # In a task of its own: who adds and then reads is a memory's put, and waits.
        new = [ChatMessage(str(n)) for n in range(9)]
        await asyncio.create_task(chat_store.add_messages("s", new))
        one = asyncio.create_task(keep())
        first, again = await asyncio.gather(read(), read())  # before it archives, and since
        assert first[-8:] == again[-8:] == numbers(1, 9)
        assert await read() == numbers(1, 9)
        other = asyncio.create_task(take())  # who archives beside it waits then
        for _ in range(20):
            await asyncio.sleep(0)
        assert not other.done()
        forever.set()
        assert await one == (["0", "1"], 9)
        assert await asyncio.wait_for(other, A_MINUTE / 6) == (numbers(1, 9), ["2"])
        assert await read() == numbers(3, 9)
        await asyncio.sleep(0)
        assert (chat_store._turns._held, chat_store._turns._waiting) == ({}, {})

    run(go())


def test_a_reader_does_not_keep_a_put_from_its_turn(run):
    chat_store = AsyncSessionChatStore(Pausing())
    blocks = [Keeping(name="one", kept=[])]
    memory = memory_of(chat_store, *blocks, flush=1)

    async def read():
        for _ in range(40):
            await memory.aget()

    async def put():
        puts = [memory.aput(ChatMessage(str(n))) for n in range(24)]
        await asyncio.wait_for(asyncio.gather(*puts, read(), read(), read()), A_MINUTE / 2)
        assert await require_once(chat_store, blocks, 24)

    run(put())


def test_turns_that_are_over_leave_nothing_in_memory(run):
    chat_store = AsyncSessionChatStore(InMemorySessionStore())
    memory = memory_of(chat_store, Keeping(name="one", kept=[]))

    async def put():
        task = asyncio.current_task()
        before = len(task._callbacks or ()) if hasattr(task, "_callbacks") else 0
        for n in range(40):
            await memory.aput(ChatMessage(str(n)))
            await memory.aget()
        await asyncio.sleep(0)
        after = len(task._callbacks or ()) if hasattr(task, "_callbacks") else 0
        return before == after

    assert run(put())
    turns = chat_store._turns
    assert (turns._held, turns._waiting) == ({}, {})
    gc.collect()
    assert len(chat_store._guesses) == 1


# -- Memory with LlamaIndex's own blocks ----------------------------------------------------------


def facts(messages, **_):
    known = [m.content for m in messages if m.content.startswith("fact")]
    text = "".join(f"<fact>{one}</fact>" for one in known)
    return ChatMessage(f"<facts>{text}</facts>", role="assistant")


class Texts(SimpleVectorStore):
    """A vector store that keeps the texts, too, as `VectorMemoryBlock` wants it."""

    stores_text: bool = True
    texts: dict = Field(default_factory=dict)

    def add(self, nodes, **options):
        self.texts = {**self.texts, **{node.node_id: node for node in nodes}}
        return super().add(nodes, **options)

    async def async_add(self, nodes, **options):
        return self.add(nodes, **options)

    async def aquery(self, query, **options):
        found = self.query(query, **options)
        found.nodes = [self.texts[one] for one in found.ids]
        return found


def test_llama_indexs_own_memory_blocks_work(store, run):
    model = MockFunctionCallingLLM(response_generator=facts, is_chat_model=True)
    blocks = [
        StaticMemoryBlock(name="static", static_content="I am a helper.", priority=0),
        FactExtractionMemoryBlock(name="facts", llm=model, priority=1),
        VectorMemoryBlock(
            name="vector",
            vector_store=Texts(),
            embed_model=MockEmbedding(embed_dim=2),
            priority=2,
        ),
    ]
    memory = Memory.from_defaults(
        session_id="s",
        chat_store=AsyncSessionChatStore(store),
        memory_blocks=blocks,
        tokenizer_fn=str.split,
        token_limit=60,
        chat_history_token_ratio=0.1,
        token_flush_size=2,
    )

    async def talk():
        for n in range(12):
            await memory.aput(ChatMessage(f"fact{n}", role="user"))
            await memory.aput(ChatMessage(f"Noted {n}", role="assistant"))
        return await memory.aget()

    system, *rest = run(talk())
    assert "I am a helper." in system.content
    archived = run(memory.aget_all(ARCHIVED))
    known = [one for one in said(archived) if one.startswith("fact")]
    assert known
    assert blocks[1].facts == known
    kept = "".join(node.text for node in blocks[2].vector_store.texts.values())
    assert [kept.count(f">{one}<") for one in said(archived)] == [1] * len(archived)
    assert "Noted" in system.content
    assert said(run(memory.aget_all())) == [
        text for n in range(12) for text in (f"fact{n}", f"Noted {n}")
    ]
    assert said(rest) == said(run(memory.aget_all(ACTIVE)))
    run(memory.areset())
    assert run(memory.aget_all()) == []


# -- What others do to a session that was archived ------------------------------------------------


def test_nothing_is_archived_after_langchain_cleared_the_session(store, run):
    hold(store, 12, archived=5)
    chat_store = AsyncSessionChatStore(store)
    history = SessionChatMessageHistory("s", store)
    history.clear()
    assert run(standing(chat_store)) == ([], [])
    history.add_messages([HumanMessage("new"), HumanMessage("and newer")])
    assert run(standing(chat_store)) == ([], ["new", "and newer"])
    assert said(run(chat_store.archive_oldest_messages("s", 1))) == ["new"]
    assert run(standing(chat_store)) == (["new"], ["and newer"])


def test_nothing_is_archived_after_the_messages_were_replaced(store, run):
    hold(store, 12, archived=5)
    chat_store = AsyncSessionChatStore(store)
    SessionChatStore(store).set_messages("s", [ChatMessage("x"), ChatMessage("y")])
    assert run(standing(chat_store)) == ([], ["x", "y"])
    hold(store, 12, archived=5, key="t")
    plain = SessionChatStore(store)
    plain.set_messages("t", plain.get_messages("t")[3:])
    assert run(standing(chat_store, "t")) == ([], numbers(3, 12))


@pytest.mark.parametrize("gone", [["m4"], ["m3", "m4"], ["m4", "m5"], ["m2", "m3", "m4", "m5"]])
def test_archiving_goes_on_where_the_last_archived_message_was_deleted(store, run, gone):
    hold(store, 12, archived=5)
    store.delete_messages("s", gone)
    chat_store = AsyncSessionChatStore(store)
    archived = [str(n) for n in range(5) if f"m{n}" not in gone]
    active = [str(n) for n in range(5, 12) if f"m{n}" not in gone]
    assert run(standing(chat_store)) == (archived, active)
    assert said(run(chat_store.archive_oldest_messages("s", 2))) == active[:2]
    assert run(standing(chat_store)) == (archived + active[:2], active[2:])


def test_a_memory_that_archives_corrects_the_count(run):
    store = InMemorySessionStore()
    hold(store, 14, archived=5)
    store.delete_messages("s", ["m0", "m1"])
    chat_store = AsyncSessionChatStore(store)
    run(memory_of(chat_store).aput(ChatMessage("14")))
    archived, active = run(standing(chat_store))
    assert archived + active == numbers(2, 15)


def test_tampered_metadata_archive_nothing(run):
    store = InMemorySessionStore()
    hold(store, 3)
    chat_store = AsyncSessionChatStore(store)
    for forged in (
        "x",
        {"archived": 2},
        {"archived": 2, "last_archived": []},
        {"last_archived": [1]},
    ):
        store.update("s", metadata={"llama_index": forged})
        assert run(standing(chat_store)) == ([], numbers(0, 3))


class Blinking(InMemorySessionStore):
    """A store that is away once, when the mark is moved; meanwhile another process moves it."""

    away = 0

    async def arun(self, operation):
        if isinstance(operation, Update) and operation.expected_version is not None:
            self.away += 1
            if self.away == 1:
                play(Archive(operation.session_id).archiving(5), self.run)
                raise StoreUnavailableError("away")
        return await super().arun(operation)


def test_a_store_that_is_unavailable_for_a_moment_hands_nothing_out_twice(run):
    store = Blinking()
    hold(store, 9)
    chat_store = AsyncSessionChatStore(store)
    with pytest.raises(StoreUnavailableError):
        run(chat_store.archive_oldest_messages("s", 2))
    assert run(standing(chat_store)) == (numbers(0, 5), numbers(5, 9))


class Overtaken(InMemorySessionStore):
    """A store in which somebody archives just before the first deletion."""

    overtaken = False

    async def arun(self, operation):
        if isinstance(operation, DeleteMessages) and not self.overtaken:
            self.overtaken = True
            play(Archive(operation.session_id).archiving(2), self.run)
        return await super().arun(operation)


def test_deleting_the_oldest_takes_no_message_archived_meanwhile(run):
    store = Overtaken()
    hold(store, 6)
    chat_store = AsyncSessionChatStore(store)
    assert said(run(chat_store.delete_oldest_messages("s", 3))) == ["2", "3", "4"]
    assert run(standing(chat_store)) == (["0", "1"], ["5"])


# -- An outage ------------------------------------------------------------------------------------


@pytest.fixture
def redis():
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield server


def test_a_buffer_goes_on_when_redis_is_killed(redis, run):
    with open_store(redis.url, retry_after=0) as store, RedisSessionStore(redis.url) as itself:
        memory = ChatMemoryBuffer.from_defaults(
            chat_store=SessionChatStore(store), chat_store_key="s", tokenizer_fn=str.split
        )
        memory.put(ChatMessage("0"))
        run(memory.aput(ChatMessage("1")))
        redis.kill()
        memory.put(ChatMessage("2"))
        run(memory.aput(ChatMessage("3")))
        assert said(memory.get()) == said(run(memory.aget())) == numbers(0, 4)
        assert store.is_degraded()
        redis.start()
        memory.put(ChatMessage("4"))
        assert (store.is_degraded(), store.pending()) == (False, [])
        assert said(SessionChatStore(itself).get_messages("s")) == numbers(0, 5)


def test_a_memory_goes_on_when_redis_is_killed(redis, run):
    with open_store(redis.url, retry_after=0) as store, RedisSessionStore(redis.url) as itself:
        chat_store = AsyncSessionChatStore(store)
        block = Keeping(name="one", kept=[])
        memory = memory_of(chat_store, block)

        async def put(first, last):
            for n in range(first, last):
                await memory.aput(ChatMessage(str(n)))
            return said(await memory.aget())

        run(put(0, 9))
        before = len(block.kept)
        redis.kill()
        assert run(put(9, 20))[-1] == "19"
        assert isinstance(store, FallbackSessionStore)
        assert store.is_degraded()
        assert len(block.kept) > before > 0
        assert run(require_once(chat_store, [block], 20))
        redis.start()
        run(put(20, 21))
        assert (store.is_degraded(), store.pending()) == (False, [])
        assert run(require_once(AsyncSessionChatStore(itself), [block], 21))
        assert run(standing(AsyncSessionChatStore(itself)))


def test_a_long_memory_goes_on_in_an_outage(redis, run):
    with open_store(redis.url, retry_after=0) as store:
        hold(store, 900, archived=100)
        chat_store = AsyncSessionChatStore(store)
        memory = Memory.from_defaults(
            session_id="s", chat_store=chat_store, tokenizer_fn=str.split, token_limit=5000
        )
        assert said(run(memory.aget())) == numbers(100, 900)
        redis.kill()
        run(memory.aput(ChatMessage("900")))
        known = said(run(memory.aget()))
        assert known == numbers(901 - len(known), 901)
        assert len(known) > 100
        redis.start()
        assert said(run(memory.aget())) == numbers(100, 901)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_of_a_fork_waits_for_no_caller_of_its_parent():
    turns, loop = Turns(), asyncio.new_event_loop()
    loop.run_until_complete(turns.enter("s"))
    held, over = threading.Event(), threading.Event()

    def hold_lock():
        with turns._lock:
            held.set()
            over.wait()

    thread = threading.Thread(target=hold_lock)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            signal.alarm(20)
            asyncio.run(asyncio.wait_for(turns.enter("s"), 10))
            code = 0
        finally:
            os._exit(code)
    over.set()
    thread.join()
    loop.close()
    assert os.waitpid(child, 0)[1] == 0


def test_a_session_that_is_set_to_no_messages_keeps_no_summary_of_them(run):
    store = InMemorySessionStore()
    summary = {"summary": {"text": "They met.", "until": "m1"}}
    in_async = AsyncSessionChatStore(store)
    for key in ("s", "t"):
        hold(store, 3, key=key)
        store.update(key, metadata={**summary, "title": "A talk"})
    messages = run(in_async.get_messages("s"))[:2]
    for key, given in (("s", messages), ("t", []), ("s", [])):
        run(in_async.set_messages(key, given))
        left = summary if given else {}
        assert store.get(key).metadata == {**left, "title": "A talk"}
        store.update(key, metadata=summary)
        SessionChatStore(store).set_messages(key, given)
        assert store.get(key).metadata == {**left, "title": "A talk"}
