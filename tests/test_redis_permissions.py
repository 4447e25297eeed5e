"""What a user of Redis must be permitted: exactly what the page on Redis lists.

That it is enough for the whole contract is tested with the contract.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from redis_versions import VERSIONS
from servers import permissions
from servers import redis as redis_servers
from servers.permissions import ALWAYS, MORE
from servers.process import wait_until

from sessionstore import RedisSessionStore, SessionStore, SessionStoreError
from sessionstore.redis import scripts as redis_scripts
from sessionstore.testing import Stores
from sessionstore.testing.samples import conversation, ids, said


def test_the_page_on_redis_lists_what_the_scripts_call() -> None:
    scripts = [one for one in vars(redis_scripts).values() if isinstance(one, redis_scripts.Script)]
    scripts = [one for one in scripts if one is not redis_scripts.PROBE]
    scripts.append(redis_scripts.several(frozenset(scripts)))
    text = b"\n".join(one.text for one in scripts).decode()
    called = set(re.findall(r"redis\.p?call\('(\w+)'", text)) | set(
        re.findall(r"many\('(\w+)'", text)
    )
    assert sorted([*ALWAYS, "copy"]) == sorted({"eval", "evalsha", *map(str.lower, called)})
    assert len(called) > 30
    assert "copy" in MORE


@pytest.fixture(
    scope="module",
    params=VERSIONS,
)
def server(request: pytest.FixtureRequest) -> redis_servers.Server:
    return request.getfixturevalue(request.param)


Permit = Callable[..., str]


@pytest.fixture
def permit(server: redis_servers.Server) -> Permit:
    """Say what a user may run, and give the URL for that user."""
    return partial(permissions.permit, server.url, [server])


@pytest.fixture
def prefix() -> str:
    return f"sessionstore:{uuid.uuid4()}:"


@pytest.fixture(params=["sync", "async"])
def open_url(request: pytest.FixtureRequest, prefix: str) -> Iterator[Callable[..., SessionStore]]:
    with Stores(RedisSessionStore, request.param) as stores:
        yield lambda url, **options: stores.open(redis=url, key_prefix=prefix, **options)


def require_refused(call: Callable[[], Any], *commands: str) -> None:
    with pytest.raises(SessionStoreError, match="permit") as caught:
        call()
    assert type(caught.value) is SessionStoreError
    assert re.findall(r"\+(\w+)", str(caught.value)) == list(commands)


def kept(server: redis_servers.Server, prefix: str) -> list[bytes]:
    with server.client() as client:
        return [key for key in client.scan_iter(f"{prefix}*") if not key.endswith(b":typed")]


@pytest.mark.parametrize("missing", ALWAYS)
def test_a_write_without_one_of_the_permissions_writes_nothing(
    server: redis_servers.Server,
    open_url: Callable[..., SessionStore],
    permit: Permit,
    prefix: str,
    missing: str,
) -> None:
    with RedisSessionStore(server.url, key_prefix="warm") as warm:
        for write in (warm.create, warm.get, warm.update, warm.delete):
            write("s")  # the server knows the scripts
    store = open_url(permit([command for command in ALWAYS if command != missing]))
    log = conversation(3)
    for write in (
        lambda: store.append_messages("s", log),
        lambda: store.create("s", messages=log),
        lambda: store.delete("s"),
    ):
        require_refused(write, missing)
        assert kept(server, prefix) == []
    permit(ALWAYS)
    assert store.append_messages("s", log) == 3
    assert [info.id for info in store.list_sessions().sessions] == ["s"]


def test_all_missing_permissions_are_named_at_once(
    server: redis_servers.Server, open_url: Callable[..., SessionStore], permit: Permit, prefix: str
) -> None:
    missing = ("rpush", "unlink", "lpop", "zrange")
    store = open_url(permit([command for command in ALWAYS if command not in missing]))
    require_refused(lambda: store.append_message("s", said("x")), *missing)
    assert kept(server, prefix) == []


def test_a_read_only_user_can_read(
    server: redis_servers.Server, open_url: Callable[..., SessionStore], permit: Permit, prefix: str
) -> None:
    with RedisSessionStore(server.url, key_prefix=prefix) as other:
        other.append_messages("s", conversation(3))
        store = open_url(permit(["evalsha", "eval", "@read", "time"]))
        store.ping()
        assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]
        assert [info.id for info in store.list_sessions().sessions] == ["s"]
        with pytest.raises(SessionStoreError, match=r"\+set"):
            store.append_message("s", said("x"))
        assert ids(other.get_messages("s")) == ["m0", "m1", "m2"]


@pytest.mark.parametrize("more", [(), ("multi",), ("exec",), ("multi", "exec")], ids=" ".join)
def test_whole_histories_are_read_with_and_without_transactions(
    open_url: Callable[..., SessionStore], permit: Permit, more: tuple[str, ...]
) -> None:
    store = open_url(permit([*ALWAYS, *more]))
    for count in (1, 2, 3):
        # No connection may be left in a transaction, which takes commands in and does none.
        assert store.append_messages("s", conversation(count)) == 1
        assert ids(store.get_messages("s")) == ids(conversation(count))


def test_a_server_that_forgot_the_scripts_may_have_other_permissions(
    server: redis_servers.Server, open_url: Callable[..., SessionStore], permit: Permit
) -> None:
    store = open_url(permit(ALWAYS))
    store.append_messages("s", conversation(3))
    permit([command for command in ALWAYS if command != "zadd"])
    server.run("SCRIPT", "FLUSH")
    require_refused(lambda: store.append_message("s", said("x")), "zadd")
    assert ids(store.get_messages("s")) == ["m0", "m1", "m2"]


def test_keys_outside_the_users_pattern_are_refused(
    server: redis_servers.Server, open_url: Callable[..., SessionStore], permit: Permit, prefix: str
) -> None:
    store = open_url(permit(ALWAYS, "~other:*"))
    with pytest.raises(SessionStoreError, match="its keys"):
        store.append_message("s", said("x"))
    assert kept(server, prefix) == []


def test_the_permission_to_wait_is_checked_before_the_write(
    server: redis_servers.Server, open_url: Callable[..., SessionStore], permit: Permit, prefix: str
) -> None:
    store = open_url(permit(ALWAYS), wait_replicas=1)
    require_refused(lambda: store.append_message("s", said("x")), "wait")
    assert kept(server, prefix) == []
    permit([*ALWAYS, "wait"])
    with pytest.raises(SessionStoreError, match="only 0 of 1 replicas"):
        store.append_message("s", said("x", "m0"))
    assert ids(store.get_messages("s")) == ["m0"]


@pytest.mark.parametrize("missing", [None, "select", "ping"])
def test_a_database_number_and_a_health_check_need_select_and_ping(
    open_url: Callable[..., SessionStore], permit: Permit, missing: str | None
) -> None:
    commands = [command for command in (*ALWAYS, "select", "ping") if command != missing]
    store = open_url(permit(commands) + "/1?health_check_interval=1")
    if missing == "select":
        require_refused(lambda: store.append_message("s", said("x")), "select")
        return
    assert store.append_message("s", said("x")) == 1
    used = time.monotonic()
    wait_until(lambda: time.monotonic() - used > 1.1, "the connection's health is in doubt")
    if missing == "ping":
        require_refused(lambda: store.append_message("s", said("x")), "ping")
    else:
        assert store.append_message("s", said("x")) == 1


@pytest.mark.parametrize("missing", [None, "cluster", "command", "zrem"])
def test_a_cluster_needs_the_documented_permissions(
    redis_cluster: redis_servers.Cluster,
    open_url: Callable[..., SessionStore],
    prefix: str,
    missing: str | None,
) -> None:
    commands = [command for command in (*ALWAYS, *MORE) if command != missing]
    url = permissions.permit(redis_cluster.url, redis_cluster.masters, commands)
    store = open_url(url, timeout=20.0)  # a busy machine is no fault of the store
    if missing:
        with pytest.raises(SessionStoreError, match=rf"\+{missing}"):
            store.append_messages("s", conversation(3), user_id="u")
        assert all(kept(master, prefix) == [] for master in redis_cluster.masters)
        return
    assert store.append_messages("s", conversation(3), user_id="u") == 3
    assert [info.id for info in store.list_sessions(user_id="u").sessions] == ["s"]
    assert store.delete("s")
