"""What flows ask for: whoever shows it, in a log or a traceback, shows nothing of what is in it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from sessionstore import InMemorySessionStore, SessionMessage
from sessionstore.fallback import requests as of_fallback
from sessionstore.operations import Append
from sessionstore.redis import calls, scripts
from sessionstore.redis import requests as of_redis
from sessionstore.sql import direct
from sessionstore.sql import requests as of_sql

WORDS = "my salary is 4711"
KEYS = tuple(b"k%d" % number for number in range(6))
QUERY = direct.Query(text("SELECT :body"), {"body": WORDS})
COMMAND = of_redis.Command(b"k", ("EVAL", b"return 1", WORDS))
CALL = (b"k", ("EVALSHA", b"0", b"6", *KEYS, WORDS), scripts.APPEND, "s1")

REQUESTS: dict[Any, Any] = {
    "Query": QUERY,
    "Work": of_sql.Work(QUERY, at_once=True, session=WORDS),
    "Command": COMMAND,
    "Call": calls.Call(*CALL),
    "WriteCall": calls.WriteCall(*CALL),
    "ReadAllCall": calls.ReadAllCall(*CALL),
    "Transaction": of_redis.Transaction((("RPUSH", b"k", WORDS),)),
    "Probe": of_redis.Probe(COMMAND),
    "Request": of_fallback.Request(
        InMemorySessionStore(), Append("s1", [SessionMessage("user", WORDS)])
    ),
}


def test_every_kind_of_request_is_among_these() -> None:
    """A kind that is new is shown here, too."""
    modules = (of_fallback, of_redis, of_sql, calls, direct)
    kinds = {
        name
        for module in modules
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__ and name[0] != "_"
    }
    assert kinds == set(REQUESTS)


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_request_is_shown_without_what_is_in_it(kind: str) -> None:
    request = REQUESTS[kind]
    assert repr(request).startswith(f"{kind}(")
    parts = request if isinstance(request, tuple) else [request]
    by_rich = [part.__rich_repr__() for part in parts if hasattr(part, "__rich_repr__")]
    assert by_rich
    assert "salary" not in f"{request!r} {request} {by_rich}"
