"""Who put the messages of a checkpointer's thread there: asked where others may have been there."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.serde.types import ERROR

from langchain_sessionstore.rewinding import REWIND_TO
from sessionstore import InvalidSessionError, SessionAccessError
from sessionstore.flow import Flow

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple

__all__ = [
    "Origins",
    "SaverFlow",
    "belongs",
    "checkpointer_of",
    "has_landed",
    "is_nested",
    "is_undisturbed",
    "names_caller",
    "newest",
    "step_of",
    "steps_at_end",
    "was_refused",
]

T = TypeVar("T")

SaverFlow: TypeAlias = "Flow[RunnableConfig, CheckpointTuple | None, T]"
"""A flow that a checkpointer's ``get_tuple`` or ``aget_tuple`` drives."""

_CHECKPOINTER = "__pregel_checkpointer"
_RESUMING = "__pregel_resuming"
# A run's input is a step, its writes are another; a thread's first input is step -1.
_BEFORE_FIRST = [-2, 3]
_REFUSALS = (SessionAccessError.__name__, f"{InvalidSessionError.__name__}('{REWIND_TO} ")


def checkpointer_of(config: RunnableConfig) -> BaseCheckpointSaver[Any] | None:
    """Give the checkpointer of the run, if it has one.

    Args:
        config: The run's.

    Returns:
        The checkpointer.
    """
    saver = (config.get("configurable") or {}).get(_CHECKPOINTER)
    return cast("BaseCheckpointSaver[Any] | None", saver)


def belongs(thread: Sequence[str | None], session_id: str | None, user_id: str | None) -> bool:
    """Tell whether a caller may go on with a thread.

    Args:
        thread: The session and the user that it belongs to.
        session_id: The caller's session; ``None`` where that is not known.
        user_id: The caller.

    Returns:
        Whether both are the thread's, or not named.
    """
    owner_session, owner = thread
    return session_id in (None, owner_session) and (None in (owner, user_id) or owner == user_id)


def is_undisturbed(config: RunnableConfig, steps: Sequence[int] | None, *, first: bool) -> bool:
    """Tell whether a run directly follows the last one that ended: this costs no request.

    A call that was refused, or failed, has its input in the thread: LangGraph keeps it before any
    middleware runs, and counts a step for it.

    Args:
        config: The run's.
        steps: The step at which the last turn ended, and how many there are to the next.
        first: Whether no turn ended yet.

    Returns:
        Whether nothing can be in the thread but what the last turn left and this run's input.
    """
    if (config.get("configurable") or {}).get(_RESUMING) or not (steps or first):
        return False
    end, gap = steps or _BEFORE_FIRST
    return step_of(config) == end + gap


def steps_at_end(config: RunnableConfig, steps: Sequence[int] | None) -> list[int]:
    """Give the step at which a turn ends.

    Args:
        config: The run's.
        steps: What was known.

    Returns:
        This step, and how many there are to the next turn.
    """
    return [step_of(config), (steps or _BEFORE_FIRST)[1]]


def has_landed(here: Any, config: RunnableConfig, steps: Sequence[int] | None) -> bool:
    """Tell whether this run's input is in the thread's newest checkpoint: it may be on its way.

    Args:
        here: The checkpoint.
        config: The run's.
        steps: As for `is_undisturbed`.

    Returns:
        Whether it is there.
    """
    _, gap = steps or _BEFORE_FIRST
    return here is not None and bool(here.metadata.get("step", 0) > step_of(config) - gap)


def step_of(config: RunnableConfig) -> int:
    """Give the step of LangGraph's at which a run is.

    Args:
        config: The run's.

    Returns:
        The step.
    """
    return int((config.get("metadata") or {}).get("langgraph_step", 0))


class Origins:
    """Who put each message of a thread there, as LangGraph wrote it beside each checkpoint.

    Attributes:
        thread: The session and user that the thread's newest checkpoint belongs to, if it says so.
        runs: By message id, the metadata of the run that put it there.
        own: The messages that are this run's input.
        refused: The messages that came with a call that was refused.
        steps: What was learnt of the steps between two turns, if there was nothing between.
    """

    def __init__(self) -> None:
        """Start without any."""
        self.thread: Sequence[str | None] | None = None
        self.runs: dict[str, Mapping[str, Any]] = {}
        self.own: set[str] = set()
        self.refused: set[str] = set()
        self._names_caller = True
        self.steps: list[int] | None = None

    def others(self, thread: Sequence[str | None]) -> set[str]:
        """Give the messages that came by calls of others.

        Args:
            thread: The session and the user that the thread belongs to.

        Returns:
            Their ids. Of calls whose config named nobody, a context maybe, or that were to rewind
            the log, those that were refused.
        """
        others = {id for id, run in self.runs.items() if not belongs(thread, *self._named(run))}  # noqa: A001
        rewinding = {id for id, run in self.runs.items() if run.get(REWIND_TO)}  # noqa: A001
        return others | (self.refused & (self.unnamed() | rewinding))

    def unnamed(self) -> set[str]:
        """Give the earlier messages whose calls' config named neither a session nor a user.

        Returns:
            Their ids.
        """
        named = {id for id, run in self.runs.items() if self._named(run) != (None, None)}  # noqa: A001
        return self.runs.keys() - named - self.own

    def _named(self, run: Mapping[str, Any]) -> tuple[str | None, str | None]:
        return (run.get("session_id"), run.get("user_id")) if self._names_caller else (None, None)

    def tracing(
        self, config: RunnableConfig, ids: Sequence[str], steps: Sequence[int] | None
    ) -> SaverFlow[None]:
        """Go back through the thread's checkpoints to where each message was new.

        Each request is the config of a checkpoint, for the checkpointer's ``get_tuple``.

        Args:
            config: The run's.
            ids: The messages, in the state's order.
            steps: What is known of the turns' steps.
        """
        self._names_caller = names_caller(config)
        here = yield newest(config)
        self.thread = here.checkpoint["channel_values"].get("session_thread") if here else None
        resuming = (config.get("configurable") or {}).get(_RESUMING)
        # The checkpoint of this run may be on its way still: then its input is nowhere yet.
        landed = not resuming and ids[-1] in _held(here, ids)
        end = steps[0] if steps else sys.maxsize
        forked = here is not None and here.metadata.get("source") == "fork"
        last: set[str] = set(ids) if forked else set()
        begun: list[str | None] = []
        refused: tuple[set[str], Any] = (set(), None)
        while here:
            source, held = here.metadata.get("source"), _held(here, ids)
            mark = here.checkpoint["channel_values"].get("session_mark")
            if was_refused(here):
                refused = (held, mark)
            if source == "input":
                self.refused |= refused[0] - held if refused[1] == mark else set()
                refused = (set(), None)
            if source != "loop":
                begun.append(source)
                if begun == ["input"] and landed:
                    self.own = set(self.runs) - held
                if source == "input":  # a run may go on with the input of another
                    self._note(last - held, here.metadata)
            if not held and source != "fork" and here.metadata.get("step", end) <= end:
                break
            self._note(held, here.metadata)
            last = held if source == "input" else held or last
            here = (yield here.parent_config) if here.parent_config else None
        if steps and not resuming and (not begun or (begun == ["input"] and landed)):
            self.steps = [end, step_of(config) - end]

    def _note(self, ids: set[str], run: Any) -> None:
        for each in ids:
            self.runs[each] = run


def names_caller(config: RunnableConfig) -> bool:
    """Tell whether a checkpoint's metadata name who made the call.

    Args:
        config: The run's.

    Returns:
        Whether they do.
    """
    # Metadata of the caller's own, for a tracer maybe, hide what the configurable says.
    configurable, metadata = config.get("configurable") or {}, config.get("metadata") or {}
    names = ("session_id", "user_id")
    return all(metadata.get(name) in (None, configurable.get(name)) for name in names)


def newest(config: RunnableConfig) -> RunnableConfig:
    """Give the config by which a checkpointer finds the newest checkpoint of a run's thread.

    Args:
        config: The run's.

    Returns:
        The config.
    """
    configurable = config.get("configurable") or {}
    namespace = {"checkpoint_ns": _namespace(config)}
    return {"configurable": {"thread_id": configurable["thread_id"], **namespace}}


def is_nested(config: RunnableConfig) -> bool:
    """Tell whether an agent is a part of a graph, which has its memory in the same checkpointer.

    Args:
        config: The run's.

    Returns:
        Whether it is.
    """
    return bool(_namespace(config))


def _namespace(config: RunnableConfig) -> str:
    return str((config.get("configurable") or {}).get("checkpoint_ns") or "").rpartition("|")[0]


def _held(here: Any, ids: Collection[str]) -> set[str]:
    messages = here.checkpoint["channel_values"].get("messages") if here else None
    return {message.id for message in messages or ()}.intersection(ids)


def was_refused(here: Any) -> bool:
    """Tell whether the call that wrote a checkpoint was refused there.

    Args:
        here: The checkpoint.

    Returns:
        Whether it was.
    """
    return any(
        channel == ERROR and any(reason in repr(value)[:50] for reason in _REFUSALS)
        for _, channel, value in here.pending_writes or ()
    )
