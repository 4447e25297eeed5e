"""A copy is killed at each of its steps, and gone on with."""

from __future__ import annotations

from typing import Any

from children import Children
from transfers import DIES
from warm import Warm


def test_a_copy_that_is_killed_at_any_step_is_gone_on_with(warm: Warm, tmp_path: Any) -> None:
    with Children(warm) as children:
        assert int(children.run(DIES, tmp_path, 1)) > 10
