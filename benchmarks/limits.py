"""The limits of each backend: see `by_hand`, and for LangChain's messages `naive`."""

from __future__ import annotations

from limit_postgres import AsyncPostgresByHand, PostgresByHand
from limit_redis import AsyncClientByHand, AsyncRedisByHand, RedisByHand
from limit_sqlite import (
    AsyncSQLiteByHand,
    AsyncSQLiteNormalByHand,
    SQLiteByHand,
    SQLiteNormalByHand,
)
from naive import NaivePostgres, NaiveRedis, NaiveSQLite
from subject import Subject

LIMITS: dict[str, tuple[type[Subject], ...]] = {
    "sqlite": (
        SQLiteByHand,
        AsyncSQLiteByHand,
        SQLiteNormalByHand,
        AsyncSQLiteNormalByHand,
        NaiveSQLite,
    ),
    "redis": (RedisByHand, AsyncRedisByHand, AsyncClientByHand, NaiveRedis),
    "postgresql": (PostgresByHand, AsyncPostgresByHand, NaivePostgres),
}
