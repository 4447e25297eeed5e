"""What holds a password, and shows it to nobody who looks at the variables of an error's frames."""

from __future__ import annotations

from typing import Any

__all__ = ["Sealed"]


class Sealed:
    """Parameters of a connection: no mapping, so that what prints variables does not go into it.

    Args:
        values: The parameters by name.
    """

    __slots__ = ("_open",)

    def __init__(self, values: dict[str, Any]) -> None:
        def opened() -> dict[str, Any]:
            return values

        self._open = opened

    def __repr__(self) -> str:
        """Tell nothing."""
        return "Sealed(...)"

    def opened(self) -> dict[str, Any]:
        """Give the parameters, to be passed on at once."""
        return self._open()
