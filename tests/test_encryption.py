"""Sealed and opened: what a store holds, who can read it, and what is refused."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import pickle
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from frames import shows
from handing_on import HandingOn
from msgspec.structs import replace

from sessionstore import (
    CorruptMessageError,
    DecryptionError,
    EncryptedSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    InvalidMessageError,
    InvalidSessionError,
    InvalidTypeError,
    OutageError,
    SessionInfo,
    SessionMessage,
    SessionStoreError,
    StoreBounds,
    StoreConnectionError,
    Window,
    WrapperSessionStore,
    operations,
)
from sessionstore.encryption import keys_in
from sessionstore.models import encode_message
from sessionstore.operations import (
    Append,
    Create,
    Get,
    GetMessages,
    ListSessions,
    Operation,
    ReplaceMessage,
    Restore,
    Update,
)
from sessionstore.testing import FlakySessionStore, OpenStore
from sessionstore.testing.content import ContentContract
from sessionstore.testing.previews import PreviewContract
from sessionstore.testing.restoring import RestoreContract, RestorePartsContract
from sessionstore.testing.several import SeveralContract
from sessionstore.testing.summaries import SummaryContract

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
SAYING = "The word is CANARY."
HELLO = SessionMessage("user", SAYING, id="m1", name="CANARY")


class TestConformance(
    HandingOn,
    SeveralContract,
    SummaryContract,
    PreviewContract,
    RestoreContract,
    RestorePartsContract,
    ContentContract,
):
    """All of the suite, and on each store, is among the soak tests."""

    @pytest.fixture
    def open_store(self) -> OpenStore:
        def opened(**options: Any) -> EncryptedSessionStore:
            return EncryptedSessionStore(InMemorySessionStore(**options), KEY)

        return opened


@pytest.fixture
def inner() -> InMemorySessionStore:
    return InMemorySessionStore()


@pytest.fixture
def store(inner: InMemorySessionStore) -> EncryptedSessionStore:
    return EncryptedSessionStore(inner, {"k1": KEY})


def sealed_in(inner: InMemorySessionStore, session_id: str = "s") -> SessionMessage:
    return inner.get_messages(session_id)[0]


# -- What the store within is given ---------------------------------------------------------------


class Listening(WrapperSessionStore):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(InMemorySessionStore())
        self.asked: list[Any] = []

    def run(self, operation: Any) -> Any:
        self.asked.append(operation)
        return super().run(operation)

    async def arun(self, operation: Any) -> Any:
        self.asked.append(operation)
        return await super().arun(operation)


CALL: Any = {"id": "CANARY", "name": "CANARY", "args": {"CANARY": "CANARY"}}
SAID = SessionMessage(
    "assistant",
    [{"type": "text", "text": "CANARY"}],
    id="m2",
    name="CANARY",
    tool_calls=[CALL],
    tool_call_id="CANARY",
    metadata={"CANARY": "CANARY"},
    extra={"langchain": {"CANARY": "CANARY"}},
)
METADATA = {"title": "CANARY", "summary": {"text": "CANARY", "until": "m2"}, "none": None}


def kinds() -> set[type[Operation[Any]]]:
    exported = [getattr(operations, name) for name in operations.__all__]
    return {one for one in exported if isinstance(one, type) and issubclass(one, Operation)}


def made_of(kind: type[Operation[Any]], store: EncryptedSessionStore) -> Operation[Any]:
    """Make an operation whose every field that can hold words has some."""
    session = store.get("s")
    assert session is not None
    session = replace(session, id="t", messages=[SAID], metadata=METADATA)
    given: dict[str, Any] = {
        "session_id": "new" if kind is Create else "s",
        "new_session_id": "fork",
        "messages": [SAID],
        "message": replace(SAID, id="m1"),
        "metadata": METADATA,
        "session": session,
        "old": [SAID],
        "new": [replace(SAID, content="CANARY")],
        "old_metadata": {"title": "CANARY"},
        "new_metadata": {"title": "CANARY too"},
        "operations": [Append("s", [SAID]), Update("s", metadata=METADATA), Get("s")],
        "message_ids": ["m2"],
        "to": "m1",
        "token": 1,
        "holder": "me",
    }
    return kind(**{name: given[name] for name in kind.__struct_fields__ if name in given})


@pytest.mark.parametrize("kind", sorted(kinds() - {Operation}, key=str), ids=lambda k: k.__name__)
def test_no_operation_hands_on_what_is_said(kind: type[Operation[Any]]) -> None:
    within = Listening()
    store = EncryptedSessionStore(within, KEY)
    store.create("s", messages=[HELLO, SAID], metadata={"title": "CANARY"})
    operation = made_of(kind, store)
    with suppress(SessionStoreError):  # some of these are refused by the store within
        store.run(operation)
    shown = [repr(given_by(asked)) for asked in within.asked]
    assert "CANARY" not in "".join(shown)
    assert "sealed" in "".join(shown)  # this sees what is in there


def given_by(value: Any) -> Any:
    """Give all that a struct holds, where its repr would hide it."""
    if isinstance(value, (list, tuple)):
        return [given_by(each) for each in value]
    if isinstance(value, dict):
        return {key: given_by(each) for key, each in value.items()}
    fields = getattr(value, "__struct_fields__", ())
    return {name: given_by(getattr(value, name)) for name in fields} or value


def test_an_operation_that_it_does_not_know_is_not_handed_on() -> None:
    class New(Operation[int], frozen=True, tag="new"):
        session_id: str
        text: str

    within = Listening()
    store = EncryptedSessionStore(within, KEY)
    for run in (store.run, lambda given: asyncio.run(store.arun(given))):
        with pytest.raises(SessionStoreError, match=r"EncryptedSessionStore .* New"):
            run(New("s", SAYING))
    assert within.asked == []


def test_what_orders_and_finds_stays_readable(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    made = store.create("s", agent_id="a", user_id="u", messages=[HELLO], metadata={"title": "T"})
    held = inner.get("s")
    assert held is not None
    [message] = held.messages
    assert (held.agent_id, held.user_id, held.created_at) == ("a", "u", made.created_at)
    assert (message.role, message.id, message.created_at) == ("user", "m1", HELLO.created_at)
    assert (message.content, message.name, list(message.extra)) == ("", None, ["encryption"])
    assert list(held.metadata) == ["title"]
    assert message.extra["encryption"].keys() == {"v", "key", "sealed"}
    assert message.extra["encryption"]["key"] == "k1"


def test_nothing_is_sealed_twice_under_one_nonce(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    for name in ("s", "t"):
        store.append_messages(name, [replace(HELLO, id=f"m{n}") for n in range(50)])
    sealed = [m.extra["encryption"]["sealed"] for s in "st" for m in inner.get_messages(s)]
    assert len({text[:16] for text in sealed}) == 100  # 12 bytes are 16 letters


def test_what_shows_a_sealed_message_says_that_it_is(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    store.create("s", messages=[HELLO], metadata={"title": SAYING, "topic": SAYING})
    held = inner.get("s")
    assert held is not None
    page = held._repr_html_()
    assert "<code>[<bdi>encrypted</bdi>]</code>" in page
    assert page.count("[encrypted]") == inner._repr_html_().count("[encrypted]") == 2
    assert held.messages[0].extra["encryption"]["sealed"] not in page
    assert "sealed" not in page


def test_the_callers_message_is_not_touched(store: EncryptedSessionStore) -> None:
    given = SessionMessage("user", SAYING)
    store.append_message("s", given)
    assert (given.id, given.content, given.extra) == (None, SAYING, {})


def test_a_summary_shows_only_which_message_is_its_last(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    summary = {"text": SAYING, "until": "m1"}
    store.create("s", messages=[HELLO, SAID], metadata={"summary": summary})
    held = inner.get("s")
    assert held is not None
    assert held.metadata["summary"]["until"] == "m1"
    assert SAYING not in str(held.metadata)
    assert SAYING in str(Window().load(store, "s")[0].content)
    inner.update("s", metadata={"summary": {**held.metadata["summary"], "until": "m2"}})
    with pytest.raises(DecryptionError):
        store.get("s")


def test_in_an_outage_a_summary_goes_with_its_last_message() -> None:
    server = FlakySessionStore()
    store = EncryptedSessionStore(FallbackSessionStore(server, retry_after=0), KEY)
    summary = {"summary": {"text": SAYING, "until": "m2"}}
    store.create("s", messages=[HELLO, SAID], metadata={**summary, "title": "T"})
    with server.outage():
        store.delete_messages("s", ["m2"])
        session = store.get("s")
        assert session is not None
        assert session.metadata == {"title": "T"}


# -- What does not open ---------------------------------------------------------------------------


def moved_session(held: SessionMessage) -> tuple[str, SessionMessage]:
    return "t", held


def moved_message(held: SessionMessage) -> tuple[str, SessionMessage]:
    return "s", replace(held, id="other")


def changed_role(held: SessionMessage) -> tuple[str, SessionMessage]:
    return "s", replace(held, role="system")


def changed_time(held: SessionMessage) -> tuple[str, SessionMessage]:
    return "s", replace(held, created_at=held.created_at + timedelta(seconds=1))


def with_record(**changes: Any) -> Callable[[SessionMessage], tuple[str, SessionMessage]]:
    def changed(held: SessionMessage) -> tuple[str, SessionMessage]:
        record = {**held.extra["encryption"], **changes}
        return "s", replace(held, extra={"encryption": record})

    return changed


def flipped(held: SessionMessage) -> tuple[str, SessionMessage]:
    sealed = held.extra["encryption"]["sealed"]
    middle = len(sealed) // 2
    letter = "A" if sealed[middle] != "A" else "B"
    return with_record(sealed=sealed[:middle] + letter + sealed[middle + 1 :])(held)


@pytest.mark.parametrize(
    "change",
    [
        moved_session,
        moved_message,
        changed_role,
        changed_time,
        flipped,
        with_record(sealed=""),
        with_record(sealed="no Base64"),
        with_record(sealed=None),
        with_record(key=None),
        with_record(key="k2"),
        with_record(v="1"),
    ],
)
def test_a_record_that_was_changed_or_moved_does_not_open(
    change: Any, store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    store.append_message("s", HELLO)
    session_id, held = change(sealed_in(inner))
    inner.update("s", messages=[])
    inner.append_message(session_id, held)
    for read in (Get(session_id), GetMessages(session_id), GetMessages(session_id, 1)):
        with pytest.raises((DecryptionError, CorruptMessageError)) as caught:
            store.run(read)
        assert "session" in str(caught.value)


def test_a_value_of_metadata_opens_only_where_it_was_sealed(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    store.create("s", metadata={"title": "A"})
    store.create("t", metadata={"title": "B", "tag": "C"})
    held = [session.metadata for session in map(inner.get, "st") if session is not None]
    for changes in ({"title": held[0]["title"]}, {"title": held[1]["tag"]}):
        inner.update("t", metadata=changes)
        with pytest.raises(DecryptionError, match=r"the metadata 'title' of session 't' .*'k1'"):
            store.get("t")


@pytest.mark.parametrize("keys", [{"k1": OTHER}, {"k2": OTHER}, OTHER], ids=["wrong", "none", "id"])
def test_a_wrong_or_missing_key_is_an_error_that_names_it(
    keys: Any, store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    store.create("s", messages=[HELLO], metadata={"title": SAYING})
    stranger = EncryptedSessionStore(inner, keys)
    for call in (stranger.get, stranger.get_messages, stranger.fork):
        with pytest.raises(DecryptionError, match="'k1'") as caught:
            call("s")
        assert caught.value.key_id == "k1"
    # A list goes on, and tells no word.
    [info] = stranger.run(ListSessions(last=3)).sessions
    assert (info.id, info.message_count, info.metadata, info.messages) == ("s", 1, {}, [])


def test_what_one_message_hides_is_not_left_out(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    store.append_messages("s", [HELLO, SAID])
    EncryptedSessionStore(inner, {"k2": OTHER}).append_message("s", replace(HELLO, id="m3"))
    with pytest.raises(DecryptionError, match=r"'m3' .*'k2'"):
        store.get_messages("s")
    assert store.get_messages("s", before="m3") == [HELLO, SAID]


def test_a_record_of_a_newer_version_says_to_upgrade(
    store: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    store.append_message("s", HELLO)
    _, held = with_record(v=2, form="other")(sealed_in(inner))
    inner.replace_message("s", held)
    plain = EncryptedSessionStore(inner, KEY, allow_plain=True)
    for reader in (store, plain):
        with pytest.raises(CorruptMessageError, match="newer version"):
            reader.get_messages("s")
    inner.update("s", messages=[], metadata={"title": held.extra})
    for reader in (store, plain):
        with pytest.raises(CorruptMessageError, match="newer version"):
            reader.get("s")


def test_several_keys_open_and_the_first_seals(inner: InMemorySessionStore) -> None:
    EncryptedSessionStore(inner, KEY).append_message("s", HELLO)
    both = EncryptedSessionStore(inner, [OTHER, KEY])
    both.append_message("s", SAID)
    assert both.get_messages("s") == [HELLO, SAID]
    ids = [message.extra["encryption"]["key"] for message in inner.get_messages("s")]
    assert len(set(ids)) == 2
    assert EncryptedSessionStore(inner, OTHER).get_messages("s", limit=1) == [SAID]


# -- What took effect is not reported as failed ---------------------------------------------------


def test_a_write_beside_what_does_not_open_took_effect(
    inner: InMemorySessionStore, caplog: pytest.LogCaptureFixture
) -> None:
    EncryptedSessionStore(inner, {"k1": KEY}).create("s", metadata={"title": SAYING})
    store = EncryptedSessionStore(inner, {"k2": OTHER})
    with caplog.at_level(logging.WARNING):
        info = store.update("s", metadata={"tag": "x"})
    assert (info.version, info.metadata) == (2, {})
    assert "'k1'" in caplog.text
    assert SAYING not in caplog.text
    with pytest.raises(DecryptionError, match="what was to be written is written") as caught:
        store.run([Append("s", [HELLO]), Get("s")])
    assert caught.value.key_id == "k1"
    assert store.get_messages("s") == [HELLO]


# -- What is not encrypted ------------------------------------------------------------------------


def test_what_is_not_encrypted_is_refused_or_allowed(inner: InMemorySessionStore) -> None:
    inner.create("s", messages=[HELLO], metadata={"title": "T", "tag": None})
    store = EncryptedSessionStore(inner, KEY)
    for call in (store.get, store.get_messages):
        with pytest.raises(DecryptionError, match=r"not encrypted: give allow_plain=True"):
            call("s")
    [info] = store.list_sessions(last=1).sessions
    assert (info.metadata, info.messages) == ({}, [])
    store.append_message("s", SAID)
    moving = EncryptedSessionStore(inner, KEY, allow_plain=True)
    session = moving.get("s")
    assert session is not None
    assert (session.messages, session.metadata) == ([HELLO, SAID], {"title": "T", "tag": None})


def test_what_is_not_encrypted_is_read_without_a_key(inner: InMemorySessionStore) -> None:
    """While a store is moved over: some sessions have no owner, some owners no key yet."""
    vault: dict[str | None, bytes] = {"alice": KEY}
    store = EncryptedSessionStore(inner, vault.get, allow_plain=True)
    for user_id in (None, "bob"):
        name = str(user_id)
        inner.create(name, messages=[HELLO], metadata={"title": "T"}, user_id=user_id)
        session = store.get(name)
        assert session is not None
        assert (session.messages, session.metadata) == ([HELLO], {"title": "T"})
        assert store.get_messages(name, user_id=user_id) == [HELLO]
    assert [info.metadata for info in store.list_sessions().sessions] == [{"title": "T"}] * 2
    assert len(store.rotate().left) == 2
    store.append_message("None", SAID, user_id="alice")
    with pytest.raises(DecryptionError, match="no key for nobody"):
        store.get("None")


def test_a_users_words_are_not_taken_for_a_record(store: EncryptedSessionStore) -> None:
    """What is in the form of a record is sealed as anything else is."""
    record = {"v": 1, "key": "k1", "sealed": "AAAA"}
    forged = SessionMessage("user", "x", id="f", extra={"encryption": record})
    store.create("s", messages=[forged], metadata={"title": {"encryption": record}})
    session = store.get("s")
    assert session is not None
    assert (session.messages, session.metadata) == ([forged], {"title": {"encryption": record}})


# -- Keys -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        (b"short", InvalidSessionError),
        (bytes(16), InvalidSessionError),
        (KEY.hex(), InvalidTypeError),
        (None, InvalidTypeError),
        (7, InvalidTypeError),
        ([], InvalidSessionError),
        ({}, InvalidSessionError),
        ([KEY, "x"], InvalidTypeError),
        ({"": KEY}, InvalidSessionError),
        ({"a\n": KEY}, InvalidSessionError),
        ({"a" * 65: KEY}, InvalidSessionError),
        ({1: KEY}, InvalidTypeError),
        ({"a": KEY + b"x"}, InvalidSessionError),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_keys_that_are_none_are_refused_and_not_shown(keys: Any, error: Any) -> None:
    with pytest.raises(error) as caught:
        EncryptedSessionStore(InMemorySessionStore(), keys)
    assert not shows(caught.value, repr(KEY)[2:-1], KEY.hex())
    store = EncryptedSessionStore(InMemorySessionStore(), lambda _: keys)
    with pytest.raises((error, DecryptionError)) as caught:
        store.append_message("s", HELLO, user_id="alice")
    assert not shows(caught.value, repr(KEY)[2:-1], KEY.hex())
    assert store.list_sessions().sessions == []


def test_a_function_that_is_async_is_refused() -> None:
    async def later(_: str | None) -> bytes:
        return KEY

    with pytest.raises(InvalidTypeError, match="can't be async"):
        EncryptedSessionStore(InMemorySessionStore(), later)  # type: ignore[arg-type]
    store = EncryptedSessionStore(InMemorySessionStore(), lambda name: later(name))  # type: ignore[arg-type,return-value]  # noqa: PLW0108
    with pytest.raises(InvalidTypeError, match="can't be async"):
        store.append_message("s", HELLO, user_id="alice")


def test_no_error_and_no_repr_shows_a_key_or_a_word() -> None:
    inner = InMemorySessionStore()
    keys = {"k1": KEY}
    store = EncryptedSessionStore(inner, keys)
    store.append_message("s", HELLO)
    secrets = (repr(KEY)[2:-1], KEY.hex(), SAYING)
    assert not [secret for secret in secrets if secret in repr(store) + repr(vars(store))]
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(store._keys)
    assert copy.deepcopy(store._keys) is store._keys is copy.copy(store._keys)
    inner.replace_message("s", replace(sealed_in(inner), role="system"))
    with pytest.raises(DecryptionError) as refused:
        store.get_messages("s")
    inner.close()
    for call in (lambda: store.append_message("s", HELLO), lambda: store.fork("s")):
        with pytest.raises(SessionStoreError) as closed:
            call()
        assert not shows(closed.value, *secrets)
    assert not shows(refused.value, *secrets)
    with pytest.raises(InvalidMessageError) as unfit:
        store.append_message("s", replace(HELLO, metadata={"x": object()}))
    assert not shows(unfit.value, *secrets)


def test_keys_are_read_from_text() -> None:
    one, two = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "Kys=" * 8
    assert keys_in(f"# mine\n\n{one}\n") == [KEY]
    named = keys_in(f"2027: {one}\n a:b :{one}")
    assert list(named) == ["2027", "a:b"]
    assert keys_in(urlsafe_b64encode(b"\xff" * 32).decode()) == [b"\xff" * 32]
    bad = ("", "# none", "a: ?", f"{one}\na: {one}", f"a: {one}\na: {one}", "\N{BULLET}")
    for text in (*bad, two, KEY.hex()):
        with pytest.raises(InvalidSessionError) as caught:
            keys_in(text)
        assert one not in str(caught.value)
        assert not shows(caught.value, one)
    with pytest.raises(InvalidTypeError, match=r"not str: .*keys_in\(text\)"):
        EncryptedSessionStore(InMemorySessionStore(), one)


# -- A key for each user --------------------------------------------------------------------------


@pytest.fixture
def vault() -> dict[str | None, bytes]:
    return {"alice": KEY, "bob": OTHER}


@pytest.fixture
def shared(inner: InMemorySessionStore, vault: dict[str | None, bytes]) -> EncryptedSessionStore:
    store = EncryptedSessionStore(inner, vault.__getitem__)
    for user in ("alice", "bob"):
        store.create(user, messages=[HELLO], user_id=user, metadata={"title": user})
    return store


def test_each_call_that_seals_names_its_user(shared: EncryptedSessionStore) -> None:
    info = shared.list_sessions().sessions[0]
    for operation in (
        Append("alice", [SAID]),
        ReplaceMessage("alice", HELLO),
        Update("alice", messages=[SAID]),
        Update("alice", metadata={"title": "x"}),
    ):
        with pytest.raises(InvalidSessionError, match="give user_id"):
            shared.run(operation)
        with pytest.raises(InvalidSessionError, match="give user_id"):
            shared.run([Get("alice"), operation])
    with pytest.raises(InvalidSessionError, match="give user_id"):
        shared.run([GetMessages("alice"), Get("alice")])
    assert shared.list_sessions(limit=1).sessions == [info]
    # These hold nothing to seal.
    assert shared.append_messages("alice", []) == 0
    assert shared.update("alice", metadata={"title": None}).metadata == {}
    assert shared.delete_messages("alice", ["m1"]) == ["m1"]


def test_what_is_read_for_nobody_goes_by_the_owner(
    shared: EncryptedSessionStore, call: Callable[..., Any]
) -> None:
    for user in ("alice", "bob"):
        for user_id in (None, user):
            assert call(shared, "get_messages", user, user_id=user_id) == [HELLO]
            session = call(shared, "get", user, user_id=user_id)
            assert (session.messages, session.metadata) == ([HELLO], {"title": user})
    assert call(shared, "get_messages", "nothing") == []
    listed = call(shared, "list_sessions", last=1).sessions
    assert [info.metadata["title"] for info in listed] == ["bob", "alice"]
    assert [info.messages for info in listed] == [[HELLO], [HELLO]]
    assert call(shared, "fork", "alice", "t").user_id == "alice"
    assert call(shared, "get_messages", "t", user_id="alice") == [HELLO]


def test_what_was_sealed_with_a_destroyed_key_is_gone(
    shared: EncryptedSessionStore, vault: dict[str | None, bytes]
) -> None:
    del vault["alice"]
    for user_id in ("alice", None):
        for method in (shared.get, shared.get_messages, shared.fork):
            with pytest.raises(DecryptionError, match="no key for user 'alice'"):
                method("alice", user_id=user_id)
    with pytest.raises(DecryptionError):
        shared.append_message("alice", SAID, user_id="alice")
    shown = {info.id: (info.metadata, info.messages) for info in listed(shared)}
    assert shown == {"alice": ({}, []), "bob": ({"title": "bob"}, [HELLO])}
    assert shared.get_messages("bob", user_id="bob") == [HELLO]
    vault["alice"] = os.urandom(32)  # another one opens nothing
    with pytest.raises(DecryptionError, match="not among the keys"):
        shared.get_messages("alice", user_id="alice")


def listed(store: EncryptedSessionStore) -> list[SessionInfo]:
    return store.list_sessions(last=1).sessions


def test_what_a_key_function_raises_is_the_callers(inner: InMemorySessionStore) -> None:
    def unreachable(_: str | None) -> bytes:
        raise StoreConnectionError("the key service is down")

    store = EncryptedSessionStore(inner, unreachable)
    with pytest.raises(StoreConnectionError, match="key service"):
        store.append_message("s", HELLO, user_id="alice")
    assert inner.get("s") is None


# -- Fork, and bounds -----------------------------------------------------------------------------


def test_a_fork_is_sealed_anew(store: EncryptedSessionStore, inner: InMemorySessionStore) -> None:
    store.create("s", messages=[HELLO, SAID], metadata={"title": SAYING})
    info = store.fork("s", "t", at="m1")
    assert info.metadata["title"] == SAYING
    assert store.get_messages("t") == [HELLO]
    assert sealed_in(inner, "t") != sealed_in(inner)


def test_a_fork_in_an_outage_is_of_what_is_all_known() -> None:
    server = FlakySessionStore()
    store = EncryptedSessionStore(FallbackSessionStore(server, max_messages=3, retry_after=0), KEY)
    messages = [replace(HELLO, id=f"m{n}") for n in range(9)]
    store.append_messages("short", messages[:2])
    store.append_messages("long", messages)
    with server.outage():
        store.fork("short", "copy")
        assert store.get_messages("copy") == messages[:2]
        for name in ("long", "never read here"):
            with pytest.raises(OutageError, match="can't be forked"):
                store.fork(name, "copied")
    assert store.recover()
    assert store.get_messages("copy") == messages[:2]


@pytest.fixture(params=[StoreBounds(message_bytes=10_000), StoreBounds(write_bytes=100_000)])
def bounds(request: pytest.FixtureRequest) -> StoreBounds:
    bounds: StoreBounds = request.param
    return bounds


def test_what_is_within_the_bounds_fits_when_it_is_sealed(bounds: StoreBounds) -> None:
    class Bounded(WrapperSessionStore):
        def run(self, operation: Any) -> Any:
            self.bounds.require([encode_message(one) for one in operation.messages])
            return super().run(operation)

    Bounded.bounds = bounds  # type: ignore[assignment,method-assign]
    store = EncryptedSessionStore(Bounded(InMemorySessionStore()), KEY)
    most = store.bounds
    size = most.message_bytes or (most.write_bytes or 0) // (most.messages or 1)
    names = ["\0" * 510 + f"{n:02}" for n in range(most.messages or 1)]
    empty = len(encode_message(SessionMessage("user", "", id=names[0])))
    messages = [SessionMessage("user", "x" * max(0, size - empty), id=name) for name in names]
    assert store.append_messages("s", messages) == len(messages)
    with pytest.raises(InvalidMessageError):
        store.append_messages("s", [SessionMessage("user", "x" * 10 * size * len(messages))])


def test_restored_sessions_are_sealed_under_their_owners_key(
    shared: EncryptedSessionStore, inner: InMemorySessionStore
) -> None:
    session = shared.get("alice")
    assert session is not None
    info = shared.run(Restore(replace(session, id="again")))
    assert info is not None
    assert info.metadata == {"title": "alice"}
    assert shared.get_messages("again", user_id="alice") == [HELLO]
    assert sealed_in(inner, "again") != sealed_in(inner, "alice")
