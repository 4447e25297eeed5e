"""langchain-community's Redis history, and langchain-redis's.

See `langchain_histories`.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

from langchain_histories import AsyncHistories, Histories, Shared
from peers import STACK


class RedisHistory(Shared, Histories):
    """langchain-community's Redis history, on one client.

    A load is one LRANGE of all; an append one LPUSH for each message.
    """

    name = "RedisChatMessageHistory (langchain-community)"
    backend = "redis"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._first = _redis_history(url)

    def close(self) -> None:
        self._first.redis_client.close()


class AsyncRedisHistory(Shared, AsyncHistories):
    """The same in asyncio: the sync client, in asyncio's threads, as LangChain does it."""

    name = "RedisChatMessageHistory (langchain-community), in threads"
    backend = "redis"
    needs = "langchain-community"

    def __init__(self, url: str) -> None:
        self._first = _redis_history(url)

    async def close(self) -> None:
        self._first.redis_client.close()


def _redis_history(url: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_community.chat_message_histories import RedisChatMessageHistory

    return RedisChatMessageHistory("", url)


class SearchHistory(Shared, Histories):
    """langchain-redis's history: it needs RediSearch and RedisJSON, see `redis_stack`.

    A load is one FT.SEARCH, of 10,000 messages at most; an append one pipeline with a JSON.SET for
    each message, which is indexed before it answers. Over RESP2: with what redis-py
    speaks by default, a second history fails on the index of the first.
    """

    name = "RedisChatMessageHistory (langchain-redis)"
    backend = "redis"
    needs = "langchain-redis"
    server = STACK

    def __init__(self, url: str) -> None:
        self._first = _search_history()

    def close(self) -> None:
        self._first.redis_client.close()


class AsyncSearchHistory(Shared, AsyncHistories):
    """The same in asyncio: the sync client, in asyncio's threads, as LangChain does it."""

    name = "RedisChatMessageHistory (langchain-redis), in threads"
    backend = "redis"
    needs = "langchain-redis"
    server = STACK

    def __init__(self, url: str) -> None:
        self._first = _search_history()

    async def close(self) -> None:
        self._first.redis_client.close()


def _search_history() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from langchain_redis import RedisChatMessageHistory

        return RedisChatMessageHistory("first", os.environ[STACK], protocol=2)


SUBJECTS = (RedisHistory, AsyncRedisHistory, SearchHistory, AsyncSearchHistory)
