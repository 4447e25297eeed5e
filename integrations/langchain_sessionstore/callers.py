"""Who calls an agent, and in which session: by its config, its context and the tool around it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config

from langchain_sessionstore.rewinding import REWIND_TO, carried_out
from sessionstore import InvalidSessionError

__all__ = ["asked_for", "called_from", "caller_around", "config_around", "context_of", "given"]


class Caller:
    """The tool call that an agent is called from: its sessions are not for the agent inside."""

    def __init__(self, sessions: frozenset[str], result_id: str) -> None:
        """Take note of them.

        Args:
            sessions: The sessions of the agents around.
            result_id: The id of the tool call's result.
        """
        self.sessions = sessions
        self.result_id = result_id


_caller: ContextVar[Caller | None] = ContextVar("sessionstore_caller", default=None)


def caller_around() -> Caller | None:
    """Give the tool call that this agent is called from.

    Returns:
        The call; ``None`` for an agent that is called from no tool of another.
    """
    return _caller.get()


@contextmanager
def called_from(session_id: str, runtime: Any, result_id: str) -> Iterator[None]:
    """Run a tool: an agent that it calls has a session of its own.

    Args:
        session_id: The session of the turn.
        runtime: The tool's.
        result_id: The id of its result.

    Yields:
        While it runs.
    """
    around = _caller.get()
    sessions = frozenset({session_id, asked_for(runtime.config, runtime.context)})
    token = _caller.set(Caller(sessions.union(around.sessions if around else ()), result_id))
    try:
        with carried_out(given(REWIND_TO, runtime.config, runtime.context)):
            yield
    finally:
        _caller.reset(token)


def config_around() -> RunnableConfig:
    """Give the config of the run, where LangGraph hands none over.

    Returns:
        The config.

    Raises:
        InvalidSessionError: LangGraph does not give it.
    """
    try:
        return get_config()
    except RuntimeError as error:
        raise InvalidSessionError(
            "on Python 3.10 LangGraph gives an async agent that goes on after a pause or a failure "
            "no config, so no session: use Python 3.11 or later, or the agent's sync methods"
        ) from error


def context_of(request: Any) -> Any:
    """Give the runtime's context of a request for a model or a tool.

    Args:
        request: The request.

    Returns:
        The context.

    Raises:
        InvalidSessionError: The request has no runtime, so that nothing names the session.
    """
    if request.runtime is None:
        raise InvalidSessionError(
            f"SessionMiddleware was given a {type(request).__name__} without a runtime, which "
            "names the session: in the middleware in front of it, hand on request.override(...) "
            "instead of a new request"
        )
    return request.runtime.context


def given(key: str, config: RunnableConfig, context: Any) -> Any:
    """Give what a call names, in the config's ``configurable`` or the runtime's context.

    Args:
        key: The name.
        config: The run's.
        context: The runtime's.

    Returns:
        The value; ``None`` where neither names it.

    Raises:
        InvalidSessionError: Each names another.
    """
    value = (config.get("configurable") or {}).get(key)
    other = context.get(key) if isinstance(context, Mapping) else getattr(context, key, None)
    # An agent in a tool inherits what it does not name from the one around it.
    if None not in (value, other) and value != other and _caller.get() is None:
        raise InvalidSessionError(
            f"the config's configurable and the runtime's context each name another {key}: "
            "give one of them, or both the same"
        )
    return other if value is None else value


def asked_for(config: RunnableConfig, context: Any) -> Any:
    """Give the session that a call names.

    Args:
        config: The run's.
        context: The runtime's.

    Returns:
        Its id.

    Raises:
        InvalidSessionError: It names none.
    """
    for key in ("session_id", "thread_id"):
        value = given(key, config, context)
        if value is not None:
            return value
    raise InvalidSessionError(
        "the agent was called without a session: give it "
        'config={"configurable": {"session_id": "..."}}, or a thread_id'
    )
