"""The Lua files: each is a script by itself, or a part of some."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers import redis as redis_servers

from sessionstore.redis import scripts

FILES = sorted((Path(scripts.__file__).parent / "lua").glob("*.lua"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_valid_lua_by_itself(redis_server: redis_servers.Server, path: Path) -> None:
    with redis_server.client() as client:
        client.script_load(path.read_text())


def test_every_file_is_used() -> None:
    made = [one for one in vars(scripts).values() if isinstance(one, scripts.Script)]
    texts = [one.text for one in (*made, scripts.several(frozenset(made)))]
    unused = [path.name for path in FILES if not any(path.read_bytes() in text for text in texts)]
    assert FILES
    assert not unused
