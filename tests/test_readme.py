"""Every Python block of the README runs, in one folder, in the order in which it stands."""

import re
from pathlib import Path

import pytest
from servers import redis as redis_servers

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(
    r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)
REDIS = "redis://localhost:6379"
# Where the README says that something happens to Redis, it does.
STEP = re.compile(r"^# Redis is (killed|back).*$", re.MULTILINE)
WAIT = r"print('# \1', flush=True); input()"


@pytest.fixture
def redis():
    with redis_servers.single(appendonly="yes", appendfsync="always") as server:
        yield server


def output_of(block, folder, redis, warm):
    code = STEP.sub(WAIT, block.replace(REDIS, redis.url))
    running = warm.start(code, folder=folder)
    with running.stdin, running.stdout:
        lines = []
        for line in running.stdout:
            step = {"# killed\n": redis.kill, "# back\n": redis.start}.get(line)
            if step is None:
                lines.append(line)
                continue
            step()
            running.stdin.write("\n")
            running.stdin.flush()
    assert running.wait() == 0
    return "".join(lines).replace(redis.url, REDIS)


def test_the_snippets_run_and_say_what_they_promise(tmp_path, redis, warm):
    outputs = [output_of(block, tmp_path, redis, warm) for block in BLOCKS]
    store = f"FallbackSessionStore(RedisSessionStore('{REDIS}/0')"
    assert outputs == [
        "Your name is Alice.\n",
        "4\n",
        "Nice to meet you, Alice!\nBob was refused before the model ran.\n",
        "",
        "",
        "",
        "Your name is Bob. 4\n",
        "4 messages in view\n" * 2,
        "2 messages for the model\n",
        "human My name is Dora.\nhuman What is my name?\nai user: My name is\nMy name is Dora.\n",
        "My name is Erin.\n",
        "[1, 1]\n",
        "Hello! A greeting\n",
        "",
        "",
        f"Your name is Alice.\n{store}, degraded, <1 pending>)\n{store}, healthy, <0 pending>)\n",
        "False 0 0 0\n",
    ]
