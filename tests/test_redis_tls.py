"""`rediss://`: a trusted server works, sync and async, and another is refused."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import redis
from servers import redis as redis_servers
from servers.tls import certificate, speaking_tls

from sessionstore import RedisSessionStore, SessionStoreError
from sessionstore.testing.samples import conversation, ids, said

PASSWORD = "s3cret-word"  # noqa: S105


class Secure(NamedTuple):
    port: int
    trusted: Path
    other: Path

    def url(self, trusted: Path | None, host: str = "localhost") -> str:
        trust = f"?ssl_ca_certs={trusted}" if trusted else ""
        return f"rediss://:{PASSWORD}@{host}:{self.port}/0{trust}"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    home = tmp_path_factory.mktemp("tls")
    trusted, key = certificate(home / "trusted")
    other, _ = certificate(home / "other")
    with (
        redis_servers.single(requirepass=PASSWORD) as server,
        speaking_tls(server.port, trusted, key) as port,
    ):
        yield Secure(port, trusted, other)


def test_a_server_with_a_trusted_certificate_is_used(secure: Secure) -> None:
    with RedisSessionStore(secure.url(secure.trusted)) as store:
        store.delete("s")
        assert store.append_messages("s", conversation(2)) == 2
        asyncio.run(store.aappend_message("s", said("x", "m2")))
        assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]
        assert PASSWORD not in repr(store)


def test_async_calls_trust_what_a_callers_sync_client_trusts(secure: Secure) -> None:
    with (
        redis.Redis.from_url(secure.url(secure.trusted, "127.0.0.1")) as client,
        RedisSessionStore(client, key_prefix="client:") as store,
    ):
        asyncio.run(store.aappend_message("s", said("x", "m0")))
        assert ids(store.get_messages("s")) == ["m0"]


def require_refused(url: str, words: str) -> None:
    """It is the caller's to mend: to try again, or to fall back, would hide it."""
    with RedisSessionStore(url) as store:
        for call in (store.ping, lambda: asyncio.run(store.aping())):
            with pytest.raises(SessionStoreError, match=words) as caught:
                call()
            assert type(caught.value) is SessionStoreError
            assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_server_whose_certificate_is_not_trusted_is_refused(secure: Secure) -> None:
    require_refused(secure.url(secure.other), "certificate")
    require_refused(secure.url(None), "certificate")
    cluster = secure.url(secure.other).replace("rediss:", "rediss+cluster:")
    require_refused(cluster, "certificate")
