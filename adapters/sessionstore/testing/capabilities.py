"""What a store may leave out of the contract, each thing by a flag of its test class."""

from __future__ import annotations

from typing import ClassVar

import pytest

__all__ = ["Capabilities"]


class Capabilities:
    """Flags of a test class: see `SessionStoreConformance`, which says what each is for."""

    supports_expiry: ClassVar[bool] = True
    supports_flat_cost: ClassVar[bool] = True
    supports_cancellation: ClassVar[bool] = True
    supports_nonblocking_async: ClassVar[bool] = True
    supports_crash_safety: ClassVar[bool] = True
    supports_processes: ClassVar[bool] = True
    supports_leases: ClassVar[bool] = True

    def require_support(self, *names: str) -> None:
        """Leave the running test out where the store does not claim what it tests.

        Args:
            names: The flags, without ``supports_``.
        """
        for name in names:
            if not getattr(self, f"supports_{name}"):
                pytest.skip(f"not claimed: supports_{name} is false in {type(self).__name__}")
