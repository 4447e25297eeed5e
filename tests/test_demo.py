import subprocess
import sys

import pytest
from servers.process import folder
from servers.redis import Server, binary

from sessionstore import RedisSessionStore, SQLiteSessionStore

# As ``python -m`` does, in a process that has imported LangChain.
FORKED = """
    import os, runpy

    os.dup2(os.open("stderr.txt", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 2)
    runpy.run_module("langchain_sessionstore.demo", run_name="__main__", alter_sys=True)
"""


@pytest.fixture
def demo(warm, tmp_path):
    def run(*arguments, said=""):
        running = warm.start(FORKED, *arguments, folder=tmp_path)
        with running.stdin, running.stdout:
            running.stdin.write(said)
            running.stdin.close()
            stdout = running.stdout.read()
        stderr = (tmp_path / "stderr.txt").read_text()
        return subprocess.CompletedProcess(arguments, running.wait(), stdout, stderr)

    return run


def test_the_second_process_knows_the_name_from_the_store_alone(tmp_path):
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "langchain_sessionstore.demo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert "assistant  Your name is Alice." in ran.stdout
    assert str(tmp_path / "sessionstore-demo.db") in ran.stdout
    assert ran.stderr == ""


def test_a_session_goes_on_where_it_is_named(demo, tmp_path):
    options = ("--store", "sqlite:///talk.db", "--session", "s 1")
    assert demo(*options, "--say", "My name is Bob.").returncode == 0
    assert "Your name is Bob." in demo(*options, "--say", "What is my name?").stdout
    with SQLiteSessionStore(tmp_path / "talk.db") as store:
        assert len(store.get_messages("s 1")) == 4


@pytest.mark.soak
def test_it_goes_on_while_redis_is_down(demo):
    with folder() as home:
        server = Server(binary(), home, {})
        options = ("--store", server.url, "--session", "s")
        ran = demo(*options)
        assert ran.returncode == 0, ran.stderr
        assert "assistant  Your name is Alice." in ran.stdout
        assert "degraded, <2 pending>" in ran.stdout
        assert "is unavailable, the fallback answers" in ran.stderr
        server.start()
        try:
            ran = demo(*options, "--say", "What is my name?")
            assert "Your name is Alice." in ran.stdout
            assert ran.stderr == ""
            with RedisSessionStore(server.url) as store:
                assert len(store.get_messages("s")) == 6
        finally:
            server.kill()


def test_it_chats_in_the_terminal(demo):
    chat = demo("--interactive", said="My name is Eve.\nWhat is my name?\n")
    assert "Your name is Eve." in chat.stdout


def test_a_store_that_is_not_there_is_told_in_a_line(demo):
    ran = demo("--store", "sqlite:///no/such/folder/x.db")
    assert ran.returncode == 1
    assert "does not exist" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.soak
def test_a_store_that_forgets_is_told_in_a_line(demo):
    ran = demo("--store", "memory:")
    assert ran.returncode == 1
    assert "name a store that lasts" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_model_that_is_not_there_is_told_in_a_line(demo):
    ran = demo("--model", "nobody:nothing", "--say", "hi")
    assert ran.returncode == 1
    assert "Traceback" not in ran.stderr
