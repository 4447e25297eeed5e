"""The fallback beside its model, for longer."""

from __future__ import annotations

import pytest
from test_fallback_stateful import survive


@pytest.mark.parametrize("fallback", ["sqlite", "memory"])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_whatever_fails_nothing_is_lost(mode: str, fallback: str) -> None:
    survive(mode, fallback, 100)
