"""Each option in a URL is checked when the store is made: none waits for the first use to fail."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sessionstore import (
    AgentDb,
    DbSessionStore,
    FallbackSessionStore,
    InMemorySessionStore,
    PostgresAgentDb,
    RedisSessionStore,
    SqliteAgentDb,
    SQLiteSessionStore,
    open_store,
)
from sessionstore.arguments.urls import REDIS_SCHEMES

SECRET = "s3cret"  # noqa: S105 - a value that no error quotes

REDIS = {
    "port=abc": "port must be a whole number from 1 to 65535",
    "port=0": "port must be",
    "port=70000": "port must be",
    "db=-1": "db must be a whole number of 0 or more",
    f"db={SECRET}": "db must be",
    "protocol=4": "protocol must be 2 or 3",
    "socket_timeout=abc": "socket_timeout must be a number of seconds above 0",
    "socket_timeout=nan": "socket_timeout must be",
    "socket_timeout=inf": "socket_timeout must be",
    "socket_connect_timeout=-1": "socket_connect_timeout must be",
    "socket_keepalive=maybe": "socket_keepalive must be true or false",
    "socket_keepalive_options=x": "can't be said in a URL: give the store a client",
    "credential_provider=x": "can't be said in a URL",
    "health_check_interval=-1": "health_check_interval must be a whole number",
    "max_connections=99999999999": "max_connections must be a whole number above 0",
    "client_name=a%20b": "client_name must be printable ASCII without blanks",
    "ssl=true": "is said by the URL's scheme",
    "connection_class=x": "is said by the URL's scheme",
    "unix_socket_path=/tmp/x": "is said by the URL's scheme",
    f"{SECRET}=1": "there is no option",
}
TLS = {
    "ssl_ca_certs=/nowhere": "ssl_ca_certs names a file that is not there",
    "ssl_keyfile=/nowhere": "ssl_keyfile names a file",
    "ssl_certfile=/nowhere": "ssl_certfile names a file",
    "ssl_ca_path=/nowhere": "names a folder",
    "ssl_ca_data=x": "certificates in PEM",
    "ssl_cert_reqs=x": "must be none, optional or required",
    "ssl_check_hostname=x": "must be true or false",
    "ssl_min_version=1": "ssl.TLSVersion",
    "ssl_ciphers=x": "no cipher",
}
BASES = ("redis://h", "rediss://h", "redis+sentinel://h/n", "redis+cluster://h", "unix:///tmp/s")


@pytest.mark.parametrize(("option", "words"), REDIS.items())
def test_an_invalid_option_of_redis_is_refused_by_name(option: str, words: str) -> None:
    for base in BASES:
        if option.startswith("port") and base not in ("redis://h", "rediss://h"):
            words = "port (must be|is no option here: it goes before the path)"
        with pytest.raises(ValueError, match=words) as caught:
            open_store(f"{base}?{option}")
        if SECRET not in option.partition("=")[0]:
            assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("option", "words"), TLS.items())
def test_an_invalid_option_of_tls_is_refused_by_name(option: str, words: str) -> None:
    for base in ("rediss://h", "rediss+sentinel://h/n", "rediss+cluster://h"):
        with pytest.raises(ValueError, match=words):
            open_store(f"{base}?{option}")
    # Whoever writes one means TLS: without it a password would go unencrypted.
    with pytest.raises(ValueError, match="let the URL start with rediss"):
        open_store(f"redis://h?{option}")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h:0/n",
        "redis+sentinel:///n",
        "redis+cluster://h:99999",
        "redis+cluster:///",
        "redis+sentinel://h/n?port=1",
        "redis+cluster://h?host=x",
        "redis://h?sentinel_password=x",
        "redis://a b",
        "redis://h#x",
        "redis+sentinel://h/n#x",
        "unix://socket",
        "redis://a..b",
        f"redis+cluster://h,{'a' * 64}.b",
    ],
)
def test_an_invalid_url_of_redis_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="this URL of Redis is not valid"):
        open_store(url)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("redis://?port=1234", {"port": 1234}),
        ("redis://h:6380?port=1234", {"port": 6380}),
        ("redis://h?max_connections=2147483648", {"max_connections": 2**31}),
        ("redis://h?socket_keepalive=on", {"socket_keepalive": True}),
        ("redis://h?protocol=3&socket_keepalive=no", {"protocol": 3, "socket_keepalive": False}),
        ("rediss://h?ssl_min_version=771&ssl_cert_reqs=none", {"ssl_min_version": 771}),
        ("redis+sentinel://h/n?client_name=me&db=3", {"client_name": "me", "db": 3}),
    ],
)
def test_valid_options_reach_the_store(url: str, options: dict[str, Any]) -> None:
    with RedisSessionStore(url) as store:
        assert options.items() <= store._settings.options.items()


POSTGRES = {
    "sslmode=x": "sslmode must be one of disable, allow, prefer",
    "connect_timeout=x": "connect_timeout must be a number of seconds",
    "port=x": "port must be a whole number from 1 to 65535",
    "keepalives=x": "keepalives must be a whole number",
    "keepalives_idle=x": "keepalives_idle must be a whole number",
    "tcp_user_timeout=x": "tcp_user_timeout must be a whole number",
    "target_session_attrs=x": "target_session_attrs must be one of any, read-write",
    "ssl_min_protocol_version=x": "must be one of TLSv1, ",
    "channel_binding=x": "must be one of disable, prefer, require",
    "gssencmode=x": "must be one of",
    "load_balance_hosts=x": "must be one of disable, random",
    "sslnegotiation=x": "must be one of",
    "sslcertmode=x": "must be one of",
    "sslmode=verify-full&sslrootcert=/nowhere": "sslrootcert names a file that is not there",
    "nosuch=x": "knows no (parameter|option) 'nosuch'",
}


@pytest.mark.parametrize(("option", "words"), POSTGRES.items())
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_an_invalid_option_of_postgresql_is_refused_by_name(
    driver: str, option: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        open_store(f"postgresql+{driver}://h/d?{option}")
    if driver == "psycopg" and "connect_timeout" not in option:  # a number there
        given = dict(part.split("=") for part in option.split("&"))
        with pytest.raises(ValueError, match=words):
            PostgresAgentDb("host=h", **given)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql+psycopg://h:99999/d", "port must be a whole number"),
        ("postgresql+psycopg2://h:0/d", "port must be a whole number"),
        ("postgresql+asyncpg://h/d?sslmode=require", "asyncpg knows no option 'sslmode'"),
        ("postgresql+asyncpg://h/d?ssl=x", "ssl must be one of disable"),
        ("postgresql+asyncpg://h/d?timeout=5", r"AgentDb\(url, connect_args="),
        ("postgresql+asyncpg://h/d?command_timeout=x", "command_timeout must be a number"),
        ("mysql+pymysql://h:99999/d", "port must be a whole number"),
        ("mysql+pymysql://h/d?nosuch=1", "pymysql knows no option 'nosuch'"),
        ("mysql+pymysql://h/d?connect_timeout=x", "an option .* can't have"),
        ("mysql+pymysql://h/d?charset=x", "charset is not one"),
        ("sqlite+pysqlite:///s.db?timeout=x", "timeout must be a number of seconds"),
        ("sqlite+pysqlite:///s.db?timeout=nan", "timeout must be a number of seconds"),
        ("sqlite+pysqlite:///s.db?nosuch=1", "knows no option 'nosuch'"),
        ("sqlite+aiosqlite:///s.db?timeout=x", "timeout must be a number of seconds"),
    ],
)
def test_an_invalid_option_of_another_driver_is_refused_by_name(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        open_store(url)


ODD_TEXT = (
    "unix:///{}",
    "postgresql://u:{}@h/d",
    "postgresql://h/d?password={}",
    "postgresql+psycopg2://u:{}@h/d",
    "postgresql+asyncpg://u:{}@h/d",
    "mysql+pymysql://u:{}@h/d",
)


@pytest.mark.parametrize("url", ODD_TEXT)
@pytest.mark.parametrize("odd", ["\ud800", "%00"])
def test_a_password_that_cannot_be_encoded_is_refused_and_not_shown(url: str, odd: str) -> None:
    # The drivers' own errors have the password in their `object`.
    for make in (open_store, PostgresAgentDb):
        with pytest.raises(ValueError, match=r"not valid|can't read|not a connection") as caught:
            make(url.format(SECRET + odd))
        assert SECRET not in repr(caught.value)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(ValueError, match="parameters of PostgreSQL are not valid"):
        PostgresAgentDb(password=f"{SECRET}\0")


def test_redis_is_sent_any_password_that_is_valid_unicode() -> None:
    for url in ("redis://:{}@h", "redis+sentinel://h/n?password={}"):
        with pytest.raises(ValueError, match="not valid"):
            open_store(url.format("\ud800"))
        with open_store(url.format("%00")):
            pass


def test_a_password_beyond_latin_1_is_refused_for_pymysql() -> None:
    with pytest.raises(ValueError, match="Latin-1 only") as caught:
        open_store(f"mysql+pymysql://u:{SECRET}\u212a@h/d")
    assert SECRET not in repr(caught.value)


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgresql+psycopg2", "postgresql+asyncpg", "mysql+pymysql"]
)
def test_an_invalid_host_name_is_refused(scheme: str) -> None:
    for make in (open_store, AgentDb):
        with pytest.raises(ValueError, match="its host is no name"):
            make(f"{scheme}://u@a..b/d")
    with pytest.raises(ValueError, match="its host is no name"):
        PostgresAgentDb(host="h,a..b")
    for socket in ("/a..b", f"/{'long' * 20}", "@a..b"):
        PostgresAgentDb(host=f"{socket},{socket}")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?password={}&{}",
        "redis+sentinel://h/n?sentinel_password={}&{}=1",
        "postgresql://h/d?password={}&{}=1",
        "postgresql+psycopg2://h/d?sslpassword={}&{}=1",
        "mysql+pymysql://h/d?password={}&{}=1",
    ],
)
def test_an_ampersand_in_a_password_is_refused_with_its_escape(url: str) -> None:
    for make in (open_store, AgentDb) if "redis" not in url else (open_store,):
        with pytest.raises(ValueError, match="in a password & is %26") as caught:
            make(url.format(SECRET, f"{SECRET}=x"))
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h/d?connect_timeout=1.5",
        "postgresql://h/d?connect_timeout=%205&port=%205432",
        "postgresql://h/d?keepalives=2&ssl_min_protocol_version=tlsv1.2",
        "postgresql+asyncpg://h/d?command_timeout=60",
    ],
)
def test_options_that_the_driver_takes_are_valid(url: str) -> None:
    with open_store(url):
        pass


def test_a_url_without_a_database_is_left_to_the_dialect_to_check() -> None:
    # Where the driver is not installed the error says so.
    with suppress(ImportError), open_store("oracle+oracledb://u:p@h/?service_name=x"):
        pass


def test_options_of_a_third_party_driver_of_sqlite_are_not_checked() -> None:
    with suppress(ImportError), open_store("sqlite+pysqlcipher://:p@/s.db?kdf_iter=64000"):
        pass


# -- What is nearly a URL ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url", ["sqlite://sessions.db", "sqlite:sessions.db", "sqlite:/s.db", "sqlite+pysqlite://s.db"]
)
def test_a_sqlite_url_without_three_slashes_is_refused_with_a_hint(url: str) -> None:
    with pytest.raises(ValueError, match=r"no store for a URL.* three slashes .*sqlite:///sess"):
        open_store(url)


@pytest.mark.parametrize("path", ["agent.db", "/var/lib/agent.db", "sqlite:agent.db"])
def test_a_path_in_place_of_a_url_is_refused_with_a_hint(path: str) -> None:
    for make in (DbSessionStore, AgentDb):
        with pytest.raises(ValueError, match=r"three slashes .*sqlite:///sessions.db"):
            make(path)


def test_an_unknown_scheme_is_refused_with_the_known_ones() -> None:
    for scheme in ("mongodb", "reddis", "sqllite"):
        with pytest.raises(
            ValueError, match=f"no store for a URL that starts with '{scheme}'"
        ) as e:
            open_store(f"{scheme}://u:{SECRET}@h")
        known = [f"{scheme}://" for scheme in (*REDIS_SCHEMES, "postgresql", "mysql", "mariadb")]
        for name in ("memory:", "sqlite:///", *known):
            assert name in str(e.value)
        assert SECRET not in str(e.value)


# -- Arguments of the stores -------------------------------------------------------------------

ODD: list[Any] = [b"x", [], {}, object(), str, 1j, True]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: type(odd).__name__)
def test_an_argument_of_the_wrong_type_is_refused_by_name(odd: Any, tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    calls: dict[str, Any] = {
        "SQLiteSessionStore path": lambda: SQLiteSessionStore(odd),
        "SqliteAgentDb path": lambda: SqliteAgentDb(odd),
        "SQLiteSessionStore timeout": lambda: SQLiteSessionStore(file, timeout=odd),
        "RedisSessionStore timeout": lambda: RedisSessionStore(timeout=odd),
        "RedisSessionStore redis": lambda: RedisSessionStore(odd),
        "DbSessionStore timeout": lambda: DbSessionStore("sqlite://", timeout=odd),
        "AgentDb database": lambda: AgentDb(odd),
        "AgentDb schema": lambda: AgentDb("sqlite://", schema=odd),
        "PostgresAgentDb connection_string": lambda: PostgresAgentDb(odd),
        "FallbackSessionStore primary": lambda: FallbackSessionStore(odd),
    }
    if odd is not True:
        calls["AgentDb create_schema"] = lambda: AgentDb("sqlite://", create_schema=odd)
    for name, call in calls.items():
        argument = name.split()[1]
        with pytest.raises(TypeError, match=rf"{argument} must be|an? {argument} must be"):
            call()


def test_a_class_in_place_of_a_store_is_refused() -> None:
    with pytest.raises(TypeError, match="primary must be a store"):
        FallbackSessionStore(InMemorySessionStore)  # type: ignore[arg-type]


@pytest.mark.parametrize("timeout", [10**10, 10**30])
def test_a_timeout_beyond_what_a_socket_takes_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="at most 1,000,000,000"):
        RedisSessionStore(timeout=timeout)
