"""How a turn of a runnable that remembers begins: what it sees of its session, and what is new."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from langchain_sessionstore.again import comes_again, sent_again
from langchain_sessionstore.chains.shapes import Keys
from langchain_sessionstore.chains.turn import ChainTurn
from langchain_sessionstore.codec import asks_for_tools
from langchain_sessionstore.edits import SentAgain, edited_in, recalling
from langchain_sessionstore.pending import closed
from langchain_sessionstore.rewinding import reading_rewound
from langchain_sessionstore.summaries import to_show
from sessionstore import Window
from sessionstore.integration import StoreFlow
from sessionstore.models import new_id
from sessionstore.operations import GetMessages, Rewind

__all__ = ["ChainReader"]


class ChainReader(msgspec.Struct, frozen=True):
    """Reads what a turn sees of its session.

    Attributes:
        keys: Where its input has its messages.
        agent_id: The agent of the session, if the turn makes it.
        window: What it sees; ``None`` for all.
    """

    keys: Keys
    agent_id: str
    window: Window | None

    def beginning(
        self, input: Any, session_id: str, user_id: str | None, rewind: Rewind | None
    ) -> StoreFlow[ChainTurn]:
        """Begin a turn.

        Args:
            input: What the runnable is called with.
            session_id: The session.
            user_id: The caller.
            rewind: What the log is to be rewound by; the turn sees it as if it were.

        Returns:
            The turn.
        """
        turn = yield from reading_rewound(self._reading(input, session_id, user_id), rewind)
        return replace(turn, rewind=rewind)

    def _reading(self, input: Any, session_id: str, user_id: str | None) -> StoreFlow[ChainTurn]:
        if self.window:
            stored = yield from self.window.loading(session_id, user_id)
        else:
            stored = yield GetMessages(session_id, user_id=user_id)
        brought = self.keys.new(input)
        # The ids are the same in both, so that a graph which gives all back gives nothing new.
        new = [m if m.id else m.model_copy(update={"id": new_id()}) for m in brought]
        history = to_show(stored)
        answer_id: str | None = None
        again: SentAgain | None = None
        held = set[str | None]()
        if comes_again(brought, stored):
            history, answer_id = sent_again(history, brought)
            if len(history) < len(stored):
                held = {message.id for message in stored}
            if ids := edited_in(stored, brought):
                again = SentAgain((yield from recalling(session_id, user_id, ids)), brought)
                answer_id, held = again.answer_id(), again.ids
                history = [message for message in history if message.id not in again.obsolete()]
        shown = closed(history, new) if asks_for_tools(stored) else history
        value = self.keys.given(input, shown, new)
        return ChainTurn(
            session_id=session_id,
            agent_id=self.agent_id,
            user_id=user_id,
            value=value,
            new=new,
            shown=shown,
            answer_id=answer_id,
            again=again,
            known=sum(message.id in held for message in brought if message.id),
            made_ids=not any(message.id for message in brought),
        )
