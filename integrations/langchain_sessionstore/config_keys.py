"""Which session a call is of: the keys of its config."""

from __future__ import annotations

import msgspec
from langchain_core.runnables import ConfigurableFieldSpec, RunnableConfig

from sessionstore import InvalidSessionError

__all__ = ["ConfigKeys"]

_NAMES = {"session_id": "Session ID", "user_id": "User ID"}


class ConfigKeys(msgspec.Struct, frozen=True):
    """The keys that a runnable reads under ``configurable``.

    Attributes:
        user_scoped: Each call has to name its user.
    """

    user_scoped: bool

    @property
    def specs(self) -> list[ConfigurableFieldSpec]:
        """Those that a call must have, as LangChain describes them."""
        return [_spec(key) for key in self._required()]

    def session(self, config: RunnableConfig) -> tuple[str, str | None]:
        """Give the session of a call, and the user who asks.

        Raises:
            InvalidSessionError: A key is missing.
        """
        given = config.get("configurable", {})
        missing = [key for key in self._required() if given.get(key) is None]
        if missing:
            example = {"configurable": dict.fromkeys(self._required(), "…")}
            msg = f"config['configurable'] lacks {' and '.join(missing)}: pass config={example}"
            raise InvalidSessionError(msg)
        return given["session_id"], given.get("user_id")

    def _required(self) -> list[str]:
        return ["session_id", "user_id"] if self.user_scoped else ["session_id"]


def _spec(key: str) -> ConfigurableFieldSpec:
    return ConfigurableFieldSpec(
        id=key,
        annotation=str,
        name=_NAMES[key],
        description=f"The {key} of the call.",
        default="",
        is_shared=True,
    )
