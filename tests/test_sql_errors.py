"""What drivers raise, told apart: away, slow, busy, read-only, or a mistake."""

from __future__ import annotations

import psycopg
import pymysql
import pytest
from sqlalchemy.exc import DBAPIError

from sessionstore import (
    InvalidMessageError,
    SessionStoreError,
    StoreBusyError,
    StoreConnectionError,
    StoreReadOnlyError,
    StoreTimeoutError,
)
from sessionstore.sql.errors import is_safe_to_repeat, translated

_STATES = {
    "08006": StoreConnectionError,
    "23505": SessionStoreError,
    "25006": StoreReadOnlyError,
    "25P03": StoreTimeoutError,
    "28P01": SessionStoreError,
    "40001": StoreBusyError,
    "40003": StoreConnectionError,
    "40P01": StoreBusyError,
    "42501": SessionStoreError,
    "53100": StoreReadOnlyError,
    "53200": StoreBusyError,
    "53300": StoreBusyError,
    "53400": StoreBusyError,
    "54000": InvalidMessageError,
    "55P03": StoreBusyError,
    "57014": StoreTimeoutError,
    "57P01": StoreConnectionError,
    "57P03": StoreConnectionError,
    "58030": StoreConnectionError,
}
_NUMBERS = {
    (1021, "Disk full"): StoreReadOnlyError,
    (1040, "Too many connections"): StoreBusyError,
    (1045, "Access denied"): SessionStoreError,
    (1047, "WSREP has not yet prepared node for application use"): StoreConnectionError,
    (1205, "Lock wait timeout exceeded"): StoreBusyError,
    (1213, "Deadlock found"): StoreBusyError,
    (1290, "running with the --read-only option"): StoreReadOnlyError,
    (1290, "running with the --skip-grant-tables option"): SessionStoreError,
    (1792, "Cannot execute statement in a READ ONLY transaction"): StoreReadOnlyError,
    (1836, "Running in read-only mode"): StoreReadOnlyError,
    (1969, "max_statement_time exceeded"): StoreTimeoutError,
    (2013, "Lost connection"): StoreConnectionError,
}
_WORDS = {
    "query_wait_timeout": StoreBusyError,
    "session is read-only": StoreReadOnlyError,
    "connection timeout expired": StoreConnectionError,
    "statement timeout expired": StoreTimeoutError,
    "FATAL:  sorry, too many clients already": StoreBusyError,
    "Connection refused": StoreConnectionError,
}


@pytest.mark.parametrize(("state", "kind"), _STATES.items())
def test_an_sqlstate_is_translated(state: str, kind: type[SessionStoreError]) -> None:
    error = DBAPIError(None, None, psycopg.errors.lookup(state)("given"))
    assert type(translated(error)) is kind
    assert is_safe_to_repeat(error) == (state in ("40001", "40P01", "23505"))


@pytest.mark.parametrize(("given", "kind"), _NUMBERS.items())
def test_an_error_number_of_mysql_is_translated(
    given: tuple[int, str], kind: type[SessionStoreError]
) -> None:
    error = DBAPIError(None, None, pymysql.err.OperationalError(*given))
    assert type(translated(error)) is kind


@pytest.mark.parametrize(("given", "kind"), _WORDS.items())
def test_an_error_without_a_code_is_translated_by_its_words(
    given: str, kind: type[SessionStoreError]
) -> None:
    error = DBAPIError(None, None, psycopg.OperationalError(given), connection_invalidated=True)
    assert type(translated(error)) is kind
