"""The test servers themselves: none outlives the tests that started it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

from servers.process import wait_until

HOLDER = """
import time

from servers import redis

with redis.single() as server:
    print(server.port, flush=True)
    time.sleep(600)
"""


def test_a_server_ends_with_the_process_that_started_it() -> None:
    command = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert answers(port)
        holder.send_signal(signal.SIGKILL)
    wait_until(lambda: not answers(port), "the server ends")


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
