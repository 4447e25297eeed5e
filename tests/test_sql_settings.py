"""What an SQL database is named by: a mistake in it is reported at once, and shows no password."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import make_url

from sessionstore import AgentDb, DbSessionStore, PostgresAgentDb, open_store
from sessionstore.sql.urls import engine_options

_SQL = ["postgresql", "postgresql+psycopg", "postgresql+asyncpg", "mysql"]
_REDIS = ["redis", "rediss+cluster"]  # where the last @ is the one that counts
_SIGNS = [(scheme, sign) for scheme in _SQL for sign in "@/?"]
_SIGNS += [(scheme, sign) for scheme in _REDIS for sign in "/?#"]


@pytest.mark.parametrize("password", ["S3cret{}Pw{}!", "S3cret{}Pw", "S3cret12{}x=1", "S3cret{}"])
@pytest.mark.parametrize(("scheme", "sign"), _SIGNS)
def test_a_password_that_is_not_encoded_is_refused_and_not_shown(
    scheme: str, sign: str, password: str
) -> None:
    password = password.replace("{}", sign)
    with pytest.raises(ValueError, match="percent-encode") as refused:
        open_store(f"{scheme}://chat:{password}@127.0.0.1:25532/0")
    for part in ("S3cret", "Pw", "x="):
        assert part not in f"{refused.value}{refused.value.__cause__}"
    encoded = f"{scheme}://chat:{quote(password, safe='')}@127.0.0.1:25532/0"
    with open_store(encoded, fallback=None) as store:
        assert "127.0.0.1:25532" in repr(store)
        assert "S3cret" not in repr(store)


@pytest.mark.parametrize("driver", ["psycopg", "psycopg2", "asyncpg"])
def test_an_agent_db_shows_no_password_that_is_not_encoded(driver: str) -> None:
    with pytest.raises(ValueError, match="percent-encode") as refused:
        AgentDb(f"postgresql+{driver}://chat:S3cret@Pw!@127.0.0.1/chat")
    assert "Pw!" not in f"{refused.value}{refused.value.__cause__}"


def test_a_database_name_that_is_a_url_is_parsed_as_one() -> None:
    with pytest.raises(ValueError, match="percent-encode"):
        PostgresAgentDb(dbname="postgresql://u:S3cret@Pw@h/d")


def test_a_password_in_a_connection_string_may_be_any_text() -> None:
    password = "a+b://c@d/e"  # noqa: S105 - of no server
    assert (
        PostgresAgentDb(f"host=h password={password}")._parameters.opened()["password"] == password
    )


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("conect_timeout", "'conect_timeout': is it connect_timeout?"),
        ("pasword", "'pasword': is it password?"),
        ("statment_timeout", "'statment_timeout': is it statement_timeout?"),
        ("foo", "'foo'$"),
    ],
)
def test_an_unknown_parameter_is_named(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PostgresAgentDb("postgresql://h/d", **{name: "x"})
    with pytest.raises(ValueError, match=words):
        open_store(f"postgresql://h/d?sslmode=prefer&{name}=x")


@pytest.mark.parametrize("name", ["statement_timeout", "connect_timeout"])
@pytest.mark.parametrize("value", [0, -1, "3", float("nan"), float("inf")])
def test_an_invalid_timeout_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a number of seconds above 0"):
        PostgresAgentDb("postgresql://h/d", **{name: value})


_NO = "no {}driver for {} is installed: pip install {}"
_POSTGRES = "'sessionstore[postgres]'"


@pytest.mark.parametrize(
    ("scheme", "hidden", "words"),
    [
        ("postgresql+asyncpg", "asyncpg", _NO.format("", "postgresql+asyncpg", "asyncpg")),
        (
            "postgresql+psycopg2",
            "psycopg2",
            _NO.format("", "postgresql+psycopg2", "psycopg2-binary"),
        ),
        ("postgresql", "psycopg psycopg2", _NO.format("", "postgresql", _POSTGRES)),
        (
            "postgresql+asyncpg",
            "psycopg psycopg2",
            _NO.format("blocking ", "postgresql+asyncpg", _POSTGRES),
        ),
        ("mysql", "pymysql MySQLdb", _NO.format("", "mysql", "pymysql")),
        ("mysql+mysqldb", "MySQLdb", _NO.format("", "mysql+mysqldb", "mysqlclient")),
        ("mysql+asyncmy", "asyncmy", _NO.format("", "mysql+asyncmy", "asyncmy")),
    ],
)
def test_a_missing_driver_is_named_with_what_to_install(
    scheme: str, hidden: str, words: str
) -> None:
    program = """
import sys
for name in sys.argv[2].split():
    sys.modules[name] = None
from sessionstore import open_store
try:
    open_store(sys.argv[1], fallback=None).ping()
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, f"{scheme}://u:secret@h/d", hidden],
        capture_output=True,
        text=True,
        check=True,
    )
    kind = "SessionStoreError" if "blocking" in words else "ImportError"
    assert done.stdout == f"{kind} {words}\n"


def test_a_store_names_its_database() -> None:
    with DbSessionStore("postgresql://u:a%40b@h/d") as store:
        assert repr(store) == "DbSessionStore(PostgresAgentDb('postgresql+psycopg://h/d'))"


def test_keepalive_is_on_unless_it_is_set_otherwise() -> None:
    db = PostgresAgentDb("postgresql://h/d?keepalives_idle=7", keepalives_count="2")
    given = db._parameters.opened()
    names = ("keepalives_idle", "keepalives_interval", "keepalives_count")
    assert [str(given[name]) for name in names] == ["7", "10", "2"]
    for driver in ("psycopg", "psycopg2"):
        url = make_url(f"postgresql+{driver}://h/d?keepalives_idle=7")
        arguments = engine_options(url, {"connect_args": {"keepalives_count": 2}})["connect_args"]
        assert "keepalives_idle" not in arguments
        assert [arguments[name] for name in names[1:]] == [10, 2]
