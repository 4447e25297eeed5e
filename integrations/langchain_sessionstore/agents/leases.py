"""The lease of an agent's turn: it goes from hook to hook, and over a pause."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

from langchain_core.runnables import RunnableConfig

from langchain_sessionstore.agents.left_turns import is_left
from langchain_sessionstore.agents.origins import SaverFlow
from langchain_sessionstore.agents.state import LEASE
from langchain_sessionstore.agents.turn import AgentTurn
from langchain_sessionstore.leases.modes import TurnTerms
from langchain_sessionstore.leases.turns import LeasedTurn
from sessionstore import SessionStore
from sessionstore.models import new_id
from sessionstore.operations import ReleaseLease
from sessionstore.runner import Runner

__all__ = ["AgentLeases"]


class AgentLeases:
    """Takes leases for the turns of an agent, renews them within its steps, and gives them back.

    A step that raises ends its turn as far as can be seen from here, and gives the lease back. What
    goes on all the same, as after a pause or by a middleware that tries again, takes it anew.
    """

    def __init__(self, store: SessionStore, terms: TurnTerms | None) -> None:
        """Begin.

        Args:
            store: Where the sessions are.
            terms: On which terms leases are taken; ``None`` where turns need none.
        """
        self._store, self._terms = store, terms
        self._name, self._lock = new_id(), Lock()
        self._resumed: WeakValueDictionary[str, LeasedTurn] = WeakValueDictionary()

    def runner(self, turn: AgentTurn) -> Runner:
        """Give what carries out a turn's operations.

        Args:
            turn: The turn.

        Returns:
            The store, or what puts the turn's writes under its lease.
        """
        return turn.leased or self._store

    def known(self, turn: AgentTurn) -> dict[str, Any]:
        """Give what a checkpointer keeps of a turn's lease, so that it can be gone on with.

        Args:
            turn: The turn.

        Returns:
            A part of the agent's state.
        """
        leased = turn.leased
        return {} if leased is None or leased.is_part else {LEASE: leased.lease.holder}

    def ended(self, turn: AgentTurn) -> dict[str, Any]:
        """Give what a checkpointer keeps of a lease that was given back.

        Args:
            turn: The turn.

        Returns:
            A part of the agent's state.
        """
        return dict.fromkeys(self.known(turn), "")

    # -- A turn begins ----------------------------------------------------------------------------

    def looking_back(
        self, turn: AgentTurn, state: Any, config: RunnableConfig
    ) -> SaverFlow[ReleaseLease | None]:
        """Find out whether the thread's last turn was left with its lease.

        Args:
            turn: The turn that begins.
            state: The agent's.
            config: The run's.

        Returns:
            What gives that lease back.
        """
        holder = state.get(LEASE)
        if self._terms is None or not holder or not (yield from is_left(config, holder)):
            return None
        return ReleaseLease(turn.session_id, holder)

    @contextmanager
    def beginning(
        self, turn: AgentTurn, left: ReleaseLease | None, *, is_resumable: bool
    ) -> Iterator[None]:
        """Take the lease of a turn; where it does not come to begin, the lease is given back.

        Args:
            turn: The turn.
            left: What gives back the lease that the turn before was left with.
            is_resumable: Whether a checkpointer keeps the turn, so that it can be gone on with. One
                that no checkpointer keeps has its lease given back when Python collects it.

        Yields:
            While it begins.

        Raises:
            SessionLeasedError: Another turn holds it.
        """
        leased = self._new(turn, is_resumable=is_resumable)
        if leased is None:
            yield
            return
        if left is not None:
            self._store.run(left)
        try:
            leased.take()
            yield
        except BaseException:
            leased.give_back()
            raise

    @asynccontextmanager
    async def abeginning(
        self, turn: AgentTurn, left: ReleaseLease | None, *, is_resumable: bool
    ) -> AsyncIterator[None]:
        """Async twin of `beginning`."""
        leased = self._new(turn, is_resumable=is_resumable)
        if leased is None:
            yield
            return
        if left is not None:
            await self._store.arun(left)
        try:
            await leased.atake()
            yield
        except BaseException:
            await leased.agive_back()
            raise

    def _new(self, turn: AgentTurn, *, is_resumable: bool) -> LeasedTurn | None:
        if self._terms is not None:
            turn.leased = self._made(
                turn, self._terms, self._holder(new_id()), is_resumable=is_resumable
            )
        return turn.leased

    # -- A step of a turn -------------------------------------------------------------------------

    @contextmanager
    def step(self, turn: AgentTurn, state: Any, *, of_tool: bool = False) -> Iterator[None]:
        """Renew the lease of a turn while a model or a tool runs.

        Args:
            turn: The turn. One that goes on after a pause takes its own lease over.
            state: The agent's.
            of_tool: Whether it is a tool: it may begin after one beside it has failed.

        Yields:
            While it is renewed.

        Raises:
            SessionLeasedError: The lease was lost, or another turn holds it by now.
        """
        leased = self._of(turn, state)
        if leased is None:
            yield
            return
        is_late = of_tool and leased.is_over
        if not leased.lease.is_held:
            self._take_over(leased, state)
            leased.is_over = is_late
        elif leased.lease.is_due:
            leased.lease.renew_now()
        try:
            with leased.lease.renewing(), leased.inside():
                yield
        except BaseException:
            leased.is_over = True
            raise
        finally:
            if leased.is_over and not leased.lease.is_in_use:
                leased.give_back()

    @asynccontextmanager
    async def astep(
        self, turn: AgentTurn, state: Any, *, of_tool: bool = False
    ) -> AsyncIterator[None]:
        """Async twin of `step`."""
        leased = self._of(turn, state)
        if leased is None:
            yield
            return
        is_late = of_tool and leased.is_over
        if not leased.lease.is_held:
            await self._atake_over(leased, state)
            leased.is_over = is_late
        elif leased.lease.is_due:
            await leased.lease.arenew_now()
        try:
            with leased.lease.renewing(), leased.inside():
                yield
        except BaseException:
            leased.is_over = True
            raise
        finally:
            if leased.is_over and not leased.lease.is_in_use:
                await leased.agive_back()

    # -- A turn ends ------------------------------------------------------------------------------

    @contextmanager
    def ending(self, turn: AgentTurn, state: Any) -> Iterator[None]:
        """Give the lease of a turn back, when its last messages are saved.

        Args:
            turn: The turn.
            state: The agent's.

        Yields:
            While they are saved.

        Raises:
            SessionLeasedError: The turn went on after a pause, and another holds the lease.
        """
        leased = self._of(turn, state)
        if leased is None:
            yield
            return
        if not leased.lease.is_held:
            self._take_over(leased, state)
        try:
            yield
        finally:
            leased.give_back()

    @asynccontextmanager
    async def aending(self, turn: AgentTurn, state: Any) -> AsyncIterator[None]:
        """Async twin of `ending`."""
        leased = self._of(turn, state)
        if leased is None:
            yield
            return
        if not leased.lease.is_held:
            await self._atake_over(leased, state)
        try:
            yield
        finally:
            await leased.agive_back()

    # -- Who holds it -----------------------------------------------------------------------------

    def _of(self, turn: AgentTurn, state: Any) -> LeasedTurn | None:
        if self._terms is None or turn.leased is not None:
            return turn.leased
        # Tools that run at once after a pause are steps of one turn, each with a note of its own.
        holder = self._holder(state.get(LEASE) or new_id())
        with self._lock:
            leased = self._resumed.get(holder)
            if leased is None:
                leased = self._made(turn, self._terms, holder, is_resumable=True)
                self._resumed[holder] = leased
        turn.leased = leased
        return leased

    def _made(
        self, turn: AgentTurn, terms: TurnTerms, holder: str, *, is_resumable: bool
    ) -> LeasedTurn:
        session_id, user_id = turn.session_id, turn.user_id
        return LeasedTurn(
            self._store, session_id, user_id, terms, holder, is_resumable=is_resumable
        )

    def _holder(self, name: str) -> str:
        """Name a turn and this process: so the holder is the same in all steps after a pause."""
        return f"{name.partition('.')[0]}.{self._name}.{os.getpid()}"

    def _take_over(self, leased: LeasedTurn, state: Any) -> None:
        if release := _release_of(leased, state):
            self._store.run(release)
        leased.take()

    async def _atake_over(self, leased: LeasedTurn, state: Any) -> None:
        if release := _release_of(leased, state):
            await self._store.arun(release)
        await leased.atake()


def _release_of(leased: LeasedTurn, state: Any) -> ReleaseLease | None:
    """Give what takes the turn's lease from the process in which it was before the pause."""
    before = state.get(LEASE)
    if not before or before == leased.lease.holder or leased.is_part:
        return None
    return ReleaseLease(leased.lease.session_id, before)
