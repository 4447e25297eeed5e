"""The peers that are had here: each made from its backend's URL, a file's path for SQLite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import peers
import peers_agents
import peers_langchain_postgres
import peers_langchain_redis
import peers_langchain_sql
import peers_langgraph
import peers_llama_index
from subject import Subject

_ALL: tuple[Any, ...] = (
    *peers_langchain_sql.SUBJECTS,
    *peers_langchain_redis.SUBJECTS,
    *peers_langchain_postgres.SUBJECTS,
    *peers_llama_index.SUBJECTS,
    *peers_agents.SUBJECTS,
    *peers_langgraph.SUBJECTS,
)


def all_peers(backend: str) -> tuple[list[Callable[[str], Subject]], list[str]]:
    """Give those on one backend, and for each of the others why it is not among them.

    langchain-redis is among them within `redis_stack.redis_stack`. PostgreSQL needs more than its
    usual connections for all at once: 16 for each peer.
    """
    here = [one for one in _ALL if one.backend == backend]
    reasons = [peers.lacking(one) for one in here]
    return (
        [one for one, reason in zip(here, reasons, strict=True) if not reason],
        [reason for reason in reasons if reason],
    )
