"""Programs that start at once: forked from a process that has imported what others wrote."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from textwrap import dedent

# What is ours is imported by each program itself, as it says.
THEIRS = (
    *("langchain.agents", "langchain_core.prompts", "langgraph.checkpoint.sqlite.aio"),
    *("msgspec.json", "psycopg", "pymysql", "redis.asyncio", "rich.progress"),
    *("sqlalchemy.ext.asyncio", "typer"),
)
OVEN = """
import gc, json, os, signal, socket, sys

for name in sys.argv[2:]:
    __import__(name)
# A program that collects what was imported, as each does at its end, copies all of it.
gc.collect()
gc.freeze()
orders = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    message, files, *_ = socket.recv_fds(orders, 1, 4)
    if not message:
        sys.exit()
    if os.fork() == 0:
        break
    for file in files:
        os.close(file)

orders.close()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
order, stdin, stdout, end = files
if child := os.fork():
    os.close(stdin), os.close(stdout)
    os.write(end, f"{child}\\n".encode())
    os.write(end, str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())
    os._exit(0)
os.dup2(stdin, 0), os.dup2(stdout, 1)
os.close(stdin), os.close(stdout), os.close(end)
with open(order) as file:
    program, folder, sys.argv = json.load(file)
os.chdir(folder)
exec(compile(program, "<string>", "exec"), {"__name__": "__main__"})
"""


class Forked:
    """A program that runs, as `subprocess.Popen` shows one."""

    def __init__(self, stdin: int, stdout: int, end: int) -> None:
        self.stdin = os.fdopen(stdin, "w")
        self.stdout = os.fdopen(stdout)
        self.returncode: int | None = None
        self._end = os.fdopen(end)
        self.pid = int(self._end.readline())

    def wait(self) -> int:
        if self.returncode is None:
            with self._end:
                self.returncode = int(self._end.read())
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


class Warm:
    """Forks programs; every warning is an error to them, from their start."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._oven = subprocess.Popen(
                [sys.executable, "-W", "error", "-u", "-c", OVEN, str(theirs.fileno()), *THEIRS],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )

    def start(self, program: str, *args: object, folder: str | os.PathLike[str] = ".") -> Forked:
        order = json.dumps([dedent(program), os.path.abspath(folder), ["-c", *map(str, args)]])
        pipes = [os.pipe() for _ in range(4)]
        (order_out, order_in), (stdin_out, stdin_in), (stdout_out, stdout_in), (end, ending) = pipes
        with ExitStack() as stack:
            given = [order_out, stdin_out, stdout_in, ending]
            for file in given:
                stack.callback(os.close, file)
            socket.send_fds(self._orders, [b"!"], given)
            with os.fdopen(order_in, "w") as file:
                file.write(order)
        return Forked(stdin_in, stdout_out, end)

    def close(self) -> None:
        self._orders.close()
        self._oven.wait()
