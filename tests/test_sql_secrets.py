"""What Sentry or Rich show of an error: the variables of its frames hold no password."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import pytest
from servers.postgres import PostgresServer
from servers.process import free_port

from sessionstore import AgentDb, DbSessionStore, PostgresAgentDb, SessionMessage, open_store

SECRET = "s3cr3t-donkey"  # noqa: S105 - of nobody
_DRIVERS = ["postgresql", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+asyncpg"]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def frames(traceback: TracebackType | None) -> Iterator[Any]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next


def written(value: Any, depth: int = 3) -> str:
    """Write a value as tools do that go into what it holds."""
    if depth and isinstance(value, dict):
        return "".join(written(each, depth - 1) for pair in value.items() for each in pair)
    if depth and isinstance(value, (list, tuple, set)):
        return "".join(written(each, depth - 1) for each in value)
    return repr(value)


def require_no_secret(raised: BaseException) -> None:
    for error in chain(raised):
        assert SECRET not in f"{error}{error!r}"
        for frame in frames(error.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("sessionstore"):
                for name, value in frame.f_locals.items():
                    assert SECRET not in written(value), f"{frame.f_code.co_name}: {name}"


def error_of(opening: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as raised:  # noqa: PT011 - of whatever kind
        opening()
    return raised.value


@pytest.mark.parametrize(
    "opening",
    [
        lambda: PostgresAgentDb(f"postgresql://u:{SECRET}@h/d?nonsense=1"),
        lambda: PostgresAgentDb(f"postgresql://u:{SECRET}%zz@h/d"),
        lambda: PostgresAgentDb(host="h", pasword=SECRET),
        lambda: PostgresAgentDb(f"host=h {SECRET}"),
        lambda: PostgresAgentDb(f"postgresql://u:{SECRET}@h/d", statement_timeout=-1),
        lambda: PostgresAgentDb(f"postgresql://u:{SECRET}@h/d", table_prefix="no good"),
        lambda: AgentDb(f"postgresql+psycopg2://u:{SECRET}@h/d", table_prefix="no good"),
        lambda: AgentDb(f"postgresql+nonsense://u:{SECRET}@h/d"),
        lambda: AgentDb(f"mysql://u:{SECRET}@x@h/d"),
        lambda: DbSessionStore(f"postgresql://u:{SECRET}@h/d?nonsense=1"),
        lambda: DbSessionStore(f"mysql+pymysql://u:{SECRET}@h/d", timeout=3),
        lambda: DbSessionStore(f"postgresql://u:{SECRET}@h/d", retention_days=-1),
        lambda: open_store(f"postgresql://u:{SECRET}@h/d?nonsense=1"),
        lambda: open_store(f"nonsense://u:{SECRET}@h/d"),
    ],
)
def test_an_error_about_a_url_shows_no_password(opening: Callable[[], Any]) -> None:
    require_no_secret(error_of(opening))


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("driver", _DRIVERS)
@pytest.mark.parametrize("what", ["refused", "unreachable", "unknown database"])
def test_an_error_about_a_connection_shows_no_password(
    postgres: PostgresServer, driver: str, what: str, is_async: bool
) -> None:
    port = free_port() if what == "unreachable" else postgres.port
    url = f"{driver}://postgres:{SECRET}@127.0.0.1:{port}/postgres"
    if what == "unknown database":
        url = url.replace("/postgres", "/none")
    store = DbSessionStore(url)

    def write() -> None:
        message = SessionMessage("user", f"what a user wrote: {SECRET}")
        if is_async:
            asyncio.run(store.aappend_message("s", message))
        store.append_message("s", message)

    def call() -> None:
        if is_async:
            asyncio.run(store.aping())
        store.ping()

    require_no_secret(error_of(call))
    for error in chain(error_of(write)):
        assert SECRET not in f"{error}{error!r}"
    store.close()
