"""An error says why a server could not be reached, and what to write where TLS is the reason."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from servers import redis as redis_servers
from servers.process import free_port
from servers.tls import certificate, speaking_tls

from sessionstore import (
    RedisSessionStore,
    SessionStoreError,
    StoreConnectionError,
    StoreTimeoutError,
    open_store,
)
from sessionstore._runtime.reasons import reason_of

SECRET = "s3cret"  # noqa: S105 - a password that no error quotes


def require_error(url: str, kind: type[SessionStoreError], words: str, **options: Any) -> None:
    """Each kind of call says so, sync and async."""
    with open_store(url, fallback=None, **options) as store:
        calls = [
            store.ping,
            lambda: store.get("s"),
            lambda: asyncio.run(store.aping()),
            lambda: asyncio.run(store.aget("s")),
        ]
        for call in calls:
            with pytest.raises(kind, match=words) as caught:
                call()
            assert type(caught.value) is kind
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "scheme",
    [
        "redis",
        "redis+cluster",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+asyncpg",
        "mysql+pymysql",
        "mysql+asyncmy",
    ],
)
def test_an_error_names_a_refused_connection(scheme: str) -> None:
    for module in ("asyncmy", "asyncpg", "psycopg2", "pymysql"):
        if module in scheme:
            pytest.importorskip(module)
    path = "" if scheme.startswith("redis") else "/d"
    url = f"{scheme}://u:{SECRET}@127.0.0.1:{free_port()}{path}"
    require_error(url, StoreConnectionError, "can't be reached.*: Connection refused$")


# By the standard no host has this name; without a network another reason is given.
NOBODY = "no-such-host.invalid"
UNRESOLVED = "can't be reached.*: (Name|nodename|No address|Temporary failure|getaddrinfo)"


@pytest.mark.parametrize("scheme", ["redis", "postgresql", "mysql+pymysql"])
def test_an_error_names_a_host_that_is_not_resolved(scheme: str) -> None:
    if "pymysql" in scheme:
        pytest.importorskip("pymysql")
        pytest.importorskip("asyncmy")
    path = "" if scheme.startswith("redis") else "/d"
    require_error(f"{scheme}://u:{SECRET}@{NOBODY}{path}", StoreConnectionError, UNRESOLVED)


def test_an_error_names_a_socket_file_that_does_not_exist(tmp_path: Path) -> None:
    require_error(f"unix://{tmp_path}/s", StoreConnectionError, ": No such file or directory$")


def test_an_error_says_that_no_sentinel_knows_the_master() -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()}/name"
    require_error(
        url, StoreConnectionError, ": no Sentinel that answers knows a master of this name$"
    )


def test_the_text_of_an_unknown_error_is_not_quoted() -> None:
    assert reason_of(ValueError(f"no password {SECRET}")) == ""
    assert reason_of(OSError(f"no password {SECRET}")) == ""
    refused = ConnectionRefusedError(111, f"Connect call failed ('{SECRET}', 1)")
    assert reason_of(ValueError(SECRET)) == ""
    above = ValueError(SECRET)
    above.__cause__ = refused
    assert reason_of(above) == "Connection refused"


# -- TLS, and none ------------------------------------------------------------------------------


def test_an_error_suggests_redis_urls_for_a_server_without_tls(
    redis_server: redis_servers.Server,
) -> None:
    """It waits for the end of a line, so that the call ends by its time."""
    url = redis_server.url.replace("redis:", "rediss:")
    words = "; if it speaks no TLS, write redis:// in place of rediss://$"
    require_error(url, StoreTimeoutError, words, timeout=0.15)


def test_an_error_suggests_rediss_urls_for_a_server_with_tls(
    redis_server: redis_servers.Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    trusted, key = certificate(tmp_path_factory.mktemp("tls") / "trusted")
    with speaking_tls(redis_server.port, trusted, key) as port:
        words = "; if it speaks TLS, write rediss:// in place of redis://$"
        require_error(f"redis://127.0.0.1:{port}", StoreConnectionError, words)


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer whatever comes with the same, as what speaks another protocol does."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    caller, _ = listener.accept()
                except OSError:
                    return
                with caller:
                    caller.recv(4096)
                    caller.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


ALERT = b"\x15\x03\x01\x00\x02\x02\x46"  # as TLS has it for what is no TLS


def test_an_error_suggests_rediss_urls_where_a_tls_alert_answers() -> None:
    with answering(ALERT) as port:
        words = "does not speak Redis's protocol: if it is TLS, write rediss://$"
        require_error(f"redis://127.0.0.1:{port}", SessionStoreError, words)


def test_an_error_suggests_redis_urls_where_no_tls_answers() -> None:
    with answering(b"-ERR unknown command\r\n") as port:
        words = "does not speak TLS: write redis:// in place of rediss://$"
        require_error(f"rediss://127.0.0.1:{port}", SessionStoreError, words)


@pytest.mark.parametrize("call", ["create", "get", "get_messages"])
def test_a_timeout_after_earlier_answers_does_not_mention_tls(
    tmp_path_factory: pytest.TempPathFactory, call: str
) -> None:
    trusted, key = certificate(tmp_path_factory.mktemp("tls") / "trusted")
    with (
        redis_servers.single() as server,
        speaking_tls(server.port, trusted, key) as port,
        RedisSessionStore(f"rediss://localhost:{port}?ssl_ca_certs={trusted}", timeout=1) as store,
    ):
        getattr(store, call)("s")
        server.pause()
        with pytest.raises(StoreTimeoutError, match=r"^Redis did not answer in time$"):
            store.get("s")
        server.resume()
