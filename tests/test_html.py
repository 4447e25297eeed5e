"""What objects show in a notebook: text stays text, and all of it is bounded."""

from __future__ import annotations

import json
import tracemalloc
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from children import Children
from html_samples import HOSTILE, PASSWORD, Page, attacked, info_of, pages, shown
from hypothesis import given
from hypothesis import strategies as st

from langchain_sessionstore import SessionChatMessageHistory, session_history_factory
from sessionstore import (
    FallbackSessionStore,
    InMemorySessionStore,
    PendingWrite,
    SessionData,
    SessionMessage,
    SessionPage,
    SQLiteSessionStore,
    StoreUnavailableError,
    Window,
    WrapperSessionStore,
)
from sessionstore.fallback.entries import decode_entry
from sessionstore.notebook.lists import list_html
from sessionstore.operations import Append, Get
from sessionstore.testing.content import BAD_MESSAGES, MESSAGES
from sessionstore.testing.interrupts import in_a_thread
from sessionstore.testing.strategies import MODEST, messages

TAGS = {"div", "style", "header", "strong", "bdi", "small", "b", "i", "p", "code"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
CLASSES = {
    "sessionstore-html mathjax_ignore tex2jax_ignore",
    *["log", "page", "fields", "user", "assistant", "tool", "system", "developer", "other"],
    *["day", "text", "call", "result", "open", "error", "more", "degraded", "healthy"],
}
ATTRIBUTES = {("colspan", "3"), ("dir", "auto"), *(("class", name) for name in CLASSES)}
ATTRIBUTES |= {("scope", "col"), ("scope", "row"), ("scope", "rowgroup")}


def read(thing: Any) -> Page:
    page = Page(thing._repr_html_())
    assert page.tags <= TAGS
    assert page.attributes <= ATTRIBUTES
    assert page.text.strip()
    return page


def session(*said: SessionMessage, count: int | None = None, **fields: Any) -> SessionData:
    made = InMemorySessionStore().create("s1", messages=said, **fields)
    return msgspec.structs.replace(made, message_count=len(said) if count is None else count)


def session_of(message: SessionMessage) -> SessionData:
    """Give a session with a message that no store has looked at."""
    return msgspec.structs.replace(session(), messages=[message], message_count=1)


def said(content: Any, role: str = "user", **fields: Any) -> SessionMessage:
    return SessionMessage(role, content, **fields)


def calling(*ids: str | None) -> SessionMessage:
    return said("", "assistant", tool_calls=[{"name": f"f{i}", "args": {}, "id": i} for i in ids])


# -- Text stays text ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_as_text(text: str) -> None:
    for name, page in pages(text):
        assert page.tags <= TAGS
        assert page.attributes <= ATTRIBUTES
        if name == "data" and text.isprintable():
            assert page.text.count(text[:60]) >= 10


hostile_texts = st.lists(
    st.sampled_from([*"<>&\"'/=!-\0\ud800 \n", *HOSTILE]) | st.text(max_size=9)
)


@MODEST
@given(hostile_texts.map("".join))
def test_no_text_in_any_field_makes_an_element_or_an_attribute(text: str) -> None:
    made = attacked(text)
    for thing in (made, info_of(made), SessionPage([info_of(made)])):
        read(thing)


@MODEST
@given(messages())
def test_any_messages_can_be_shown(batch: list[SessionMessage]) -> None:
    page = read(session(*batch))
    assert f"{len(batch):,} message" in page.text


@pytest.mark.parametrize(
    "bad",
    [
        message
        for message in (*MESSAGES.values(), *BAD_MESSAGES.values())
        if isinstance(message, SessionMessage)
    ],
)
def test_messages_that_no_store_would_take_can_be_shown(bad: Any) -> None:
    page = read(msgspec.structs.replace(session(), messages=[said("before"), bad, bad]))
    assert len(page.rows) == 4
    assert page.rows[1].endswith("before")


def test_invisible_characters_are_spelt_out_in_names_and_kept_in_texts() -> None:
    page = read(session(said("a\u200db \0", name="\u202eeve\n")))
    assert "\\u202eeve\\n" in page.text
    assert "a\u200db \N{SYMBOL FOR NULL}" in page.text


def test_a_medium_is_named_and_neither_its_address_nor_its_bytes_are_there() -> None:
    blocks = [
        {"type": "image", "url": "https://example.org/photos/cat.png?signature=1"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}},
        {"type": "audio", "base64": "aGVsbG8=", "mime_type": "audio/mpeg"},
        {"type": "file", "url": "https://example.org/1", "extras": {"filename": "bill.pdf"}},
        {"block_type": "document", "title": "report"},
        {"type": "hologram"},
    ]
    shown = session(said(blocks))._repr_html_()
    for there in ("image cat.png", "image", "audio audio/mpeg", "file bill.pdf", "document report"):
        assert f"[<bdi>{there}</bdi>]" in shown
    for absent in ("example.org", "signature", "aGVsbG8", "<img", "<audio", "src=", "href="):
        assert absent not in shown


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://example.org/photos/cat.png?signature=s3cret#s3cret", "cat.png"),
        ("HTTPS://example.org/cat.png;jsessionid=s3cret", "cat.png"),
        ("https://example.org/a;token=s3cret/s3cret", ""),
        ("https://user:s3cret@s3cret.example.org", ""),
        ("https://user:s3cret@s3cret.example.org/", ""),
        ("https://s3cret.example.org?a/s3cret", ""),
        ("https://example.org/photos/", ""),
        ("https://hooks.example.org/services/T0/B0/s3cret", ""),
        ("https:s3cret.png", ""),
        ("http://[s3cret/cat.png", ""),
        ("httpx://example.org/s3cret", ""),
        ("ftp://user:s3cret@example.org/s3cret", ""),
        ("file:///home/s3cret", ""),
        ("data:image/png;base64,s3cret", ""),
        ("DATA:image/png;base64,aa/s3cret", ""),
        ("javascript:alert('s3cret')", ""),
        ("C:\\Users\\s3cret", ""),
        ("C:/Users/s3cret", ""),
        ("https://example.org/C:\\Users\\s3cret", ""),
        ("https://example.org/C%3A%5CUsers%5Cs3cret", ""),
        ("s3cret", ""),
    ],
)
def test_only_the_files_name_of_an_address_is_shown(url: str, name: str) -> None:
    block = {"type": "image_url", "image_url": {"url": url}}
    shown = session(said([block]))._repr_html_()
    assert f"[<bdi>{f'image {name}'.strip()}</bdi>]" in shown
    assert PASSWORD not in shown


def test_no_password_is_shown() -> None:
    for thing in shown("s1").values():
        assert PASSWORD not in thing._repr_html_() + repr(thing)


def test_neither_repr_nor_rich_shows_what_a_user_wrote() -> None:
    secret = "what a user wrote"  # noqa: S105 - and no password
    message = said(secret, name=secret, metadata={secret: secret})
    made = session(message, metadata={"title": secret})
    write = PendingWrite(Append("s1", [message]), "id")
    page = SessionPage([info_of(made)] * 50, "cursor")
    for thing in (message, made, info_of(made), write):
        assert secret not in f"{thing!r} {thing.__rich_repr__()}"
    assert repr(page) == "SessionPage(<50 sessions>, more to come)"
    assert secret not in repr(list(page.__rich_repr__()))


# -- What is shown --------------------------------------------------------------------------------


def test_a_session_shows_role_time_and_content() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    page = read(session(said("Hello!", name="alice", created_at=moment), user_id="u"))
    assert page.rows == ["roletime (UTC)content", "user alice02:04:05Hello!"]
    assert page.days == ["2026-01-02"]
    assert "session s1 agent default · user u · version 1 · 1 message" in page.text


def test_a_title_comes_before_all_else() -> None:
    made = session(metadata={"topic": "cats", "title": "A <talk>"})
    assert read(made).text.startswith("A <talk> session s1 · agent default")
    assert 'metadata {"topic": "cats"}' in read(made).text
    assert read(SessionPage([info_of(made)])).rows[1].startswith("s1A <talk> · agent default")


def test_a_day_stands_once_above_what_is_of_it() -> None:
    moments = [datetime(2026, 1, day, 23, n, tzinfo=timezone.utc) for day in (1, 2) for n in (1, 2)]
    made = session(*(said("x", created_at=moment) for moment in moments))
    assert read(made).days == ["2026-01-01", "2026-01-02"]
    assert [row[-9:-1] for row in read(made).rows[1:]] == ["23:01:00", "23:02:00"] * 2
    infos = [msgspec.structs.replace(info_of(made), updated_at=moment) for moment in moments]
    assert read(SessionPage(infos)).days == ["2026-01-01", "2026-01-02"]


def test_ids_and_tokens_are_behind_the_time() -> None:
    usage = {"input_tokens": 1200, "output_tokens": 7}
    asked = msgspec.structs.replace(
        calling("a"), id="m1", extra={"langchain": {"usage_metadata": usage}}
    )
    page = read(session(asked, said("result", "tool", id="m2", tool_call_id="a")))
    assert page.behind == ["id m1tokens 1,200 in, 7 outresult m2"]
    assert "m1" not in "".join(page.rows)
    assert read(session_of(said("x", created_at=None, id="m1"))).behind == ["id m1"]


def test_a_long_session_is_shortened_with_a_count() -> None:
    whole = session(*(said(f"message {i}") for i in range(500)))
    end = msgspec.structs.replace(whole, messages=whole.messages[-30:])
    for made in (whole, end):
        rows = read(made).rows
        assert rows[1] == "… 480 earlier messages"
        assert [row.rpartition(" ")[2] for row in rows[2:]] == [str(i) for i in range(480, 500)]
    assert "earlier" not in read(session(*whole.messages[:20])).text
    assert read(session(*whole.messages[:21])).rows[1] == "… 1 earlier message"
    assert "No messages." in read(session()).text


def test_a_long_text_is_shortened_with_a_count() -> None:
    assert "a" * 600 + "… 1,400 more characters" in read(session(said("a" * 2000))).text
    lines = "\n".join(map(str, range(1, 101)))
    assert "\n11\n12\n… 264 more characters" in read(session(said(lines))).text
    assert "more" not in read(session(said("a" * 600))).text


def test_many_blocks_and_calls_are_shortened_with_a_count() -> None:
    blocks = session(said([{"type": "text", "text": f"<{i}>"} for i in range(15)]))
    assert "<9>… 5 more blocks" in read(blocks).text
    assert "… 2 more calls" in read(session(calling(*map(str, range(12))))).text


def test_what_is_shown_is_bounded() -> None:
    huge = "word " * 20_000
    call: Any = {"name": huge, "args": {huge: huge}, "id": huge}
    block = {"type": "text", "text": huge}
    message = SessionMessage(huge, [block] * 1000, name=huge, tool_calls=[call] * 1000)
    made = msgspec.structs.replace(session(), id=huge, messages=[message] * 1000)
    assert len(made._repr_html_()) < 600_000


@pytest.mark.parametrize(
    "args",
    [
        {"text": "x" * 20_000_000},
        {"x" * 20_000_000: 1},
        {"numbers": [0] * 4_000_000},
        {"deep": [["x" * 500] * 100] * 100},
    ],
)
def test_of_huge_arguments_only_the_beginning_is_read(args: Any) -> None:
    made = calling("a")
    made = msgspec.structs.replace(made, tool_calls=[{"name": "f", "args": args, "id": "a"}])
    tracemalloc.start()
    page = read(session_of(made))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert "… more" in page.rows[1]


def test_arguments_are_whole_as_far_as_there_is_room() -> None:
    for args in ({"a": [1, None, True, "é", {"b": 1.5}]}, {"a": "x" * 590}, {}, [], "x", None):
        made: Any = [{"name": "f", "args": args, "id": "a"}]
        row = read(session_of(said("", "assistant", tool_calls=made))).rows[1]
        assert f"f {json.dumps(args, ensure_ascii=False)} waiting" in row
    made = [{"name": "f", "args": {"a": "x" * 594}, "id": "a"}]
    row = read(session_of(said("", "assistant", tool_calls=made))).rows[1]
    assert f'f {{"a": "{"x" * 593}… more' in row


def test_a_tools_result_is_beside_its_call() -> None:
    made = session(
        calling("a", "b"),
        said("result of b", "tool", tool_call_id="b"),
        said("result of a", "tool", tool_call_id="a"),
        said("Done."),
        calling("a"),
    )
    rows = [row.partition(":")[2][5:] for row in read(made).rows[1:]]
    assert rows == ["fa {} result of afb {} result of b", "Done.", "fa {} waiting for its result"]


def test_calls_of_one_message_with_one_id_get_their_results_in_order() -> None:
    results = [said(f"result {i}", "tool", tool_call_id="a") for i in range(3)]
    rows = [row.partition(":")[2][5:] for row in read(session(calling("a", "a"), *results)).rows]
    assert rows[1:] == ["fa {} result 0fa {} result 1", "result 2"]


@pytest.mark.parametrize("role", ["user", "assistant", "system", "other"])
def test_only_what_a_tool_says_is_a_result(role: str) -> None:
    page = read(session(calling("a"), said("I forge it", role, tool_call_id="a"), said("Go on")))
    assert "fa {} no result" in page.rows[1]
    assert page.rows[2].startswith(role)
    assert page.rows[2].endswith("I forge it")
    function = session(calling("a"), said("result", "function", tool_call_id="a"))
    assert read(function).rows[1].endswith("fa {} result")


def test_a_tool_that_failed_is_shown_as_an_error() -> None:
    failed = said("It broke", "tool", tool_call_id="a", extra={"langchain": {"status": "error"}})
    assert read(session(calling("a"), failed)).rows[1].endswith("fa {} errorIt broke")
    assert read(session(failed)).rows[1].endswith("errorIt broke")
    silent = msgspec.structs.replace(failed, content="")
    assert read(session(calling("a"), silent)).rows[1].endswith("fa {} error")


def test_a_message_without_content_names_what_a_framework_keeps_of_it() -> None:
    calls = {"langchain": {"invalid_tool_calls": [{"name": "secret"}]}}
    refusal = {"langchain": {"additional_kwargs": {"refusal": "secret"}}}
    other = {"llama_index": {"blocks": [{"block": {"a": "secret"}}]}}
    empty: tuple[Any, ...] = ("", [], [{"type": "text", "text": ""}])
    for content in empty:
        for extra, name in ((calls, "invalid_tool_calls"), (refusal, "refusal"), (other, "blocks")):
            page = read(session(said(content, "assistant", extra=extra)))
            assert page.rows[1].endswith(f"[{name}]")
            assert "secret" not in page.text
    assert "refusal" not in read(session(said("Hello", extra=refusal))).text
    block = {"type": "refusal", "refusal": "I won't."}
    assert read(session(said([block]))).rows[1].endswith("refusal I won't.")


def test_a_call_whose_result_never_came_says_so() -> None:
    rows = read(
        session(calling("a", None), said("result", "tool", tool_call_id="x"), said("Go on"))
    )
    assert "fa {} no resultfNone {} no result" in rows.text
    assert rows.rows[2].endswith("result")


def test_calls_that_the_content_repeats_are_shown_once() -> None:
    block = {"type": "tool_use", "id": "a", "name": "fa", "input": {}}
    made = msgspec.structs.replace(calling("a"), content=[{"type": "text", "text": "Hm."}, block])
    assert read(session(made)).rows[1].endswith("Hm.fa {} waiting for its result")
    assert "[tool_use fa]" in read(session(said([block], "assistant"))).text


def test_a_page_is_shortened_and_says_what_it_lacks() -> None:
    info = info_of(session(said("x"), metadata={"title": "A talk"}))
    page = read(SessionPage([info] * 60, "cursor", partial=True))
    assert len(page.rows) == 52
    assert page.rows[-1] == "… 10 more sessions"
    assert "A talk · agent default · no owner" in page.rows[1]
    assert "give its cursor" in page.text
    assert "the store is away" in page.text
    whole = read(SessionPage([info]))
    assert "cursor" not in whole.text
    assert "away" not in whole.text


# -- Lists of messages ----------------------------------------------------------------------------


def test_a_list_of_messages_is_shown_as_a_table_and_no_other_list_is() -> None:
    messages = session(*(said(f"message {i}") for i in range(30))).messages
    page = Page(str(list_html(messages)))
    assert page.text.startswith("30 messages")
    assert page.rows[1] == "… 10 earlier messages"
    assert page.rows[2].endswith("message 10")
    for other in ([], [1], [*messages, 1], [1, *messages], [messages]):
        assert list_html(other) is None


def test_a_list_that_shows_itself_goes_on_to() -> None:
    class Shown(list[Any]):
        def _repr_html_(self) -> str:
            return "itself"

    assert list_html(Shown([said("x")])) == "itself"


NOTEBOOK = """
    import os, tempfile

    folder = tempfile.TemporaryDirectory()
    os.environ["IPYTHONDIR"] = folder.name

    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    formatter = shell.display_formatter.formatters["text/html"]
    {before}
    import sessionstore

    store = sessionstore.InMemorySessionStore()
    store.append_message("s", {{"role": "user", "content": "Hello!"}})
    for value in (store.get_messages("s"), store.get_messages("s")[-1:], [1], []):
        print(formatter(value) and "Hello!" in formatter(value))
    shell.history_manager.end_session()
    folder.cleanup()
"""


def test_a_notebook_shows_lists_of_messages_by_itself() -> None:
    theirs = "formatter.for_type(list, lambda value: None)"
    with Children() as children:
        assert children.run(NOTEBOOK.format(before="")).split() == ["True", "True", "None", "None"]
        assert children.run(NOTEBOOK.format(before=theirs)).split() == ["None"] * 4


# -- What a history, a store and a fallback show --------------------------------------------------


class Watched(InMemorySessionStore):
    """A store that notes how it is read, and can be out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Any] = []
        self.error: Exception | None = None

    def run(self, operation: Any) -> Any:
        if isinstance(operation, Get):
            self.calls.append(operation.limit)
        self.calls.append("a request")
        if self.error:
            raise self.error
        return super().run(operation)


def test_a_history_costs_one_bounded_read_whatever_its_window() -> None:
    store = Watched()
    store.create("s1", messages=[said(f"message {i}") for i in range(100)])
    made = session_history_factory(store, window=Window(max_messages=2))
    for history in (made("s1"), SessionChatMessageHistory("s1", store)):
        store.calls.clear()
        page = read(history)
        assert store.calls == [20, "a request"]
        assert page.rows[1] == "… 80 earlier messages"
        assert "in InMemorySessionStore(<1 sessions>)" in page.text
    assert len(made("s1").messages) == 2


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (StoreUnavailableError("Redis <can't> be reached"), "Redis <can't> be reached"),
        (RuntimeError(PASSWORD), "RuntimeError"),
    ],
)
def test_a_history_shows_an_error_and_raises_none(error: Exception, words: str) -> None:
    store = Watched()
    store.error = error
    page = read(SessionChatMessageHistory("s1", store))
    assert words in page.text
    assert ("class", "error") in page.attributes
    assert PASSWORD not in page.text


def test_a_history_of_another_user_shows_nothing_of_it() -> None:
    store = InMemorySessionStore()
    store.create("s1", user_id="alice", messages=[said("private")])
    page = read(SessionChatMessageHistory("s1", store, user_id="bob"))
    assert "SessionAccessError" in page.text
    assert "private" not in page.text
    assert "Not there yet." in read(SessionChatMessageHistory("s2", store)).text


def test_a_handle_on_a_session_shows_it_to_its_user_alone() -> None:
    store = InMemorySessionStore()
    store.create("s1", user_id="alice", messages=[said("private")])
    assert "private" in read(store.session("s1", user_id="alice")).text
    refused = read(store.session("s1", user_id="bob")).text
    assert "SessionAccessError" in refused
    assert "private" not in refused


def test_a_store_shows_its_newest_sessions_by_one_list() -> None:
    store = Watched()
    assert "No sessions." in read(store).text
    for n in range(12):
        store.create(f"s{n}", messages=[said("private")], metadata={"title": f"Talk {n}"})
    store.calls.clear()
    for viewed in (store, WrapperSessionStore(store)):
        page = read(viewed)
        assert store.calls.pop() == "a request"
        assert store.calls == []
        assert len(page.rows) == 11
        assert page.rows[1].startswith("s11Talk 11 · agent default · no owner · version 1 · 1 mess")
        assert "(<12 sessions>)" in page.text
        assert "list_sessions gives more" in page.text
        assert "private" not in page.text


def test_a_store_that_is_closed_or_away_says_so(tmp_path: Path) -> None:
    with SQLiteSessionStore(tmp_path / "s.db") as store:
        store.create("s1")
    assert "SessionStoreError: " in read(store).text
    assert "closed" in read(store).text
    away = Watched()
    away.error = RuntimeError(PASSWORD)
    assert PASSWORD not in read(away).text


def test_a_wrapper_around_a_fallback_shows_how_that_stands() -> None:
    with WrapperSessionStore(FallbackSessionStore(Watched())) as store:
        primary = store.wrapped.wrapped  # type: ignore[attr-defined]
        assert "healthy" in read(store).text
        assert primary.calls == []


def test_a_fallback_shows_its_state_and_its_pending_writes() -> None:
    primary = Watched()
    with FallbackSessionStore(primary, retry_after=0) as store:
        store.append_message("s1", said("in time"))
        assert "healthy" in read(store).text
        primary.error = StoreUnavailableError("away")
        for _ in range(3):
            store.append_message("s1", said("secret words"))
        store.create("s2")
        page = read(store)
        assert ("class", "degraded") in page.attributes
        for row in ("pending4 writess1: 3 appends2: 1 create", "rejected0 writes"):
            assert row in page.rows
        assert "away1 outage (0 over)" in page.text
        assert "secret" not in page.text
        primary.error = None
        assert store.recover()
        page = read(store)
        assert "pending0 writes" in page.rows
        assert "writes4 journaled, 4 replayed" in page.rows


def test_showing_pending_writes_blocks_no_writer() -> None:
    primary = Watched()
    with FallbackSessionStore(primary, retry_after=30) as store:
        primary.error = StoreUnavailableError("away")
        store.append_message("s1", said("x"))
        for read_it in (store.pending, store._repr_html_):
            journal, reading = store._parts.journal, []

            def another_writes(journal: Any = journal) -> bool:
                with journal._lock:
                    return True

            def decoding(raw: bytes, reading: list[bool] = reading) -> Any:
                reading.append(in_a_thread(another_writes))
                return decode_entry(raw)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("sessionstore.fallback.journal.decode_entry", decoding)
                patch.setattr("sessionstore.fallback.journal.kind_of", lambda raw: decoding(raw).id)
                read_it()
            assert reading == [True]
        primary.error = None
        assert store.recover()


# -- What it costs those who look at nothing ------------------------------------------------------

LAZY = """
    import sys

    import langchain_sessionstore, sessionstore, sessionstore.fallback.store
    print(*sorted({"html", "sessionstore.notebook"} & set(sys.modules)))
    import msgspec
    sessionstore.InMemorySessionStore().create("s")._repr_html_()
    print("sessionstore.notebook" in sys.modules)
"""


def test_the_html_module_is_imported_when_something_is_shown() -> None:
    with Children() as children:
        before, after = children.run(LAZY).splitlines()
    assert "sessionstore" not in before
    assert after == "True"
