"""A script's call, as a value: what it is given, and how it is sent.

No word is a number: hiredis has Python write those, and ends the process where a signal, such as
that of Ctrl-C, is handled just then.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sessionstore.redis.requests import Command, Reply, Transaction, Words
from sessionstore.redis.scripts import Script

__all__ = [
    "BY_HASH",
    "NAME",
    "RECORD",
    "SEVEN",
    "SIX",
    "Call",
    "LongCall",
    "LongWriteCall",
    "ReadAllCall",
    "WriteCall",
    "number",
]

BY_HASH, SIX, SEVEN = "EVALSHA", b"6", b"7"
"""How a call on a session begins: with these around the script's hash, then the keys: six of them,
or seven with that of its lease."""
_COUNT, _KEYS, _ARGS = 2, 3, 9  # where these are among the words, or begin: six keys
RECORD = 7
"""Which word of a call on a session is the key of its newest writes."""
NAME = 8
"""How many bytes the name of a write has."""
# Where, behind the keys, a write has the session's id and its name, and says that it comes again.
_ID, _NAME, _AGAIN = 1, 4, 5


class Call(Command, frozen=True):
    """One call of a script, by its hash: the command for a server that knows the script.

    Attributes:
        script: The script.
        session_id: The session that it is about; ``None`` where that is no single one.
    """

    script: Script
    session_id: str | None = None

    @classmethod
    def of(cls, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Call:
        """Make a call about no single session.

        Args:
            script: The script.
            keys: The keys that it works on; the first finds its node under Cluster.
            args: Its other arguments.
        """
        words = Words((BY_HASH, script.sha, b"%d" % len(keys), *keys, *args))
        return cls(keys[0], words, script)

    @property
    def records(self) -> list[bytes]:
        """The keys of the newest writes of the sessions that it is about: of each six keys one."""
        last = _KEYS + int(self.words[_COUNT])
        return list(self.words[RECORD : last : int(SIX)])

    def by_text(self) -> Command:
        """Give the command for a server that may not know the script."""
        return Command(self.key, Words(("EVAL", self.script.text, *self.words[2:])))

    def again(self, since: int) -> Call:  # noqa: ARG002
        """Give the same call, as it is made a second time, so many microseconds later."""
        return self


class WriteCall(Call, frozen=True):
    """One call of a script that writes, which says so when it comes a second time."""

    @property
    def name(self) -> bytes:
        """The random bytes by which the script knows this write when it is sent again.

        Of several writes in one call it is the first one's: no other is done without it.
        """
        name: bytes = self.words[self._behind_keys(_NAME)][:NAME]
        return name

    @property
    def encoded_id(self) -> bytes:
        """The session's encoded id."""
        encoded_id: bytes = self.words[self._behind_keys(_ID)]
        return encoded_id

    def again(self, since: int) -> Call:
        """Give the same call, as it is made a second time, so many microseconds later."""
        place = self._behind_keys(_AGAIN)
        words = Words((*self.words[:place], number(since), *self.words[place + 1 :]))
        return type(self)(self.key, words, self.script, self.session_id)

    def made_long(self) -> LongWriteCall:
        """Give the same call, for one whose reply may be long."""
        return LongWriteCall(self.key, self.words, self.script, self.session_id)

    def _behind_keys(self, place: int) -> int:
        return _KEYS + int(self.words[_COUNT]) + place


class LongCall(Call, frozen=True):
    """A call whose reply may be long: none goes with it, to wait behind it."""


class LongWriteCall(WriteCall, LongCall, frozen=True):
    """A call that writes, and whose reply may be long."""


class ReadAllCall(LongCall, frozen=True):
    """A call that reads all messages.

    Where there are transactions, one does what the script does, and takes a sixth of the time of a
    server that works for one caller at a time: it hands the messages on without a copy in Lua.
    """

    def at_once(self) -> Transaction:
        """Give the transaction that does what the script does."""
        head, messages, positions, gaps = self.words[_KEYS : _KEYS + 4]
        return Transaction(
            (
                Words(("HMGET", head, "agent", "user", "count", "gaps")),
                Words(("LLEN", messages)),
                Words(("HLEN", positions)),
                Words(("ZCARD", gaps)),
                Words(("LRANGE", messages, b"0", b"-1")),
            )
        )

    def reply(self, results: Reply) -> Reply:
        """Give what the script would, from what the transaction gave."""
        head, *counts, bodies = results
        if isinstance(head, Exception):
            raise head
        (agent, owner, count, gaps), caller = head, self.words[_ARGS]
        if agent is None:
            return [b"NONE"]
        # Before all else: to others than the owner not even damage is reported.
        if caller and owner not in (b"", caller):
            return [b"ACCESS"]
        for result in (*counts, bodies):
            if isinstance(result, Exception):
                raise result
        whole = [count, count, gaps or b"0"] == [b"%d" % found for found in counts]
        return [b"OK", [], bodies] if whole and owner is not None else [b"CORRUPT"]


@lru_cache(1024)
def number(value: int | None) -> bytes:
    """Give a number as a word; ``b""`` for none."""
    return b"" if value is None else b"%d" % value
