"""A conversation that survives a restart: ``python -m langchain_sessionstore.demo``.

Two processes talk to one session of one store, one after the other: the second can know from the
store alone what the first was told. While a server that ``--store`` names is down, a file takes its
place, and what was said is replayed when the server returns. ``--help`` lists what else it can do.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder

from langchain_sessionstore.runnable import SessionHistoryRunnable, with_session_history
from sessionstore import SessionMessage, SessionStore, SessionStoreError, open_store
from sessionstore.models import new_id

__all__ = ["OfflineChatModel", "main"]

_FILE = "sessionstore-demo.db"
_TALK = ("My name is Alice.", "What is my name?")


class OfflineChatModel(BaseChatModel):
    """A chat model that needs no network: it answers from the messages it is given, and no more.

    Example:
        >>> from langchain_sessionstore.demo import OfflineChatModel
        >>> OfflineChatModel().invoke("My name is Alice.").content
        'Nice to meet you, Alice!'
        >>> OfflineChatModel().invoke("What is my name?").content
        'You have not told me your name.'
    """

    @property
    def _llm_type(self) -> str:
        return "offline"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - the base class's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the same
        **kwargs: Any,  # noqa: ARG002 - the same
    ) -> ChatResult:
        said = [str(message.text) for message in messages if message.type == "human"]
        answer = AIMessage(_answer(said))
        return ChatResult(generations=[ChatGeneration(message=answer)])


def _answer(said: Sequence[str]) -> str:
    names = [name for text in said for name in re.findall(r"(?i:my name is) (\w+)", text)]
    if not said or "?" not in said[-1]:
        return f"Nice to meet you, {names[-1]}!" if names else "I see."
    return f"Your name is {names[-1]}." if names else "You have not told me your name."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo.

    Args:
        arguments: The command line; that of the process if ``None``.

    Returns:
        The exit status: 0 when the second process knew what the first was told.
    """
    options = _parser().parse_args(arguments)
    try:
        if not options.interactive and options.say is None:
            return _in_two_processes(options)
        with _open(options.store) as store:
            chain = _chain(store, options.model)
            if options.interactive:
                return _interact(chain, options.session)
            return _say(chain, options.session, options.say)
    except (SessionStoreError, ValueError) as error:
        print(f"The demo can't go on: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_sessionstore.demo",
        description="A conversation that survives a restart.",
    )
    parser.add_argument(
        "--store",
        metavar="URL",
        default=f"sqlite:///{_FILE}",
        help="where to remember (default: %(default)s)",
    )
    parser.add_argument(
        "--session", metavar="ID", default=new_id(), help="which conversation to go on with"
    )
    parser.add_argument(
        "--model",
        metavar="PROVIDER:NAME",
        help="a real model, as LangChain's init_chat_model names it; the default needs no network",
    )
    parser.add_argument("--interactive", action="store_true", help="chat in this terminal")
    parser.add_argument("--say", metavar="TEXT", help="say one thing, print the answer, and end")
    return parser


def _open(url: str) -> SessionStore:
    return open_store(url, fallback=f"sqlite:///{_FILE}")


def _chain(store: SessionStore, model: str | None) -> SessionHistoryRunnable[Any, Any]:
    prompt = ChatPromptTemplate.from_messages(
        [
            ("system", "You are a friendly assistant. Answer in one sentence."),
            MessagesPlaceholder("history"),
            ("human", "{question}"),
        ]
    )
    return with_session_history(
        prompt | _model(model),
        store,
        input_messages_key="question",
        history_messages_key="history",
    )


def _model(name: str | None) -> BaseChatModel:
    if name is None:
        return OfflineChatModel()
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415 - only --model needs it
    except ImportError as error:
        raise ValueError("--model needs LangChain: pip install langchain") from error
    try:
        return init_chat_model(name)
    except ImportError as error:  # it names the provider's package to install
        raise ValueError(str(error)) from error


def _say(chain: SessionHistoryRunnable[Any, Any], session_id: str, text: str) -> int:
    print(f"  user       {text}")
    answer = chain.invoke({"question": text}, {"configurable": {"session_id": session_id}})
    print(f"  assistant  {answer.text}")
    return 0


def _interact(chain: SessionHistoryRunnable[Any, Any], session_id: str) -> int:
    print(f"Session {session_id}. An empty line ends the chat; --session goes on with it.")
    while text := _asked():
        for chunk in chain.stream({"question": text}, {"configurable": {"session_id": session_id}}):
            print(chunk.text, end="", flush=True)
        print()
    return 0


def _asked() -> str:
    try:
        return input("> ").strip()
    except EOFError:
        return ""


def _in_two_processes(options: argparse.Namespace) -> int:
    for number, text in enumerate(_TALK, start=1):
        print(f"Process {number}", flush=True)
        process = [sys.executable, "-m", "langchain_sessionstore.demo", f"--say={text}"]
        process += [f"--store={options.store}", f"--session={options.session}"]
        process += [f"--model={options.model}"] if options.model else []
        if subprocess.run(process, check=False).returncode:  # noqa: S603 - it is this program
            return 1
    with _open(options.store) as store:
        return _show(store, options.session)


def _show(store: SessionStore, session_id: str) -> int:
    messages = store.get_messages(session_id)
    if not messages:
        print(
            f"\nNothing outlives a process in {store!r}: name a store that lasts", file=sys.stderr
        )
        return 1
    print(f"\nSession {session_id}, as it is stored in {store!r}:\n")
    print("\n".join(_table(messages)))
    knew = "Alice" in str(messages[-1].content)
    print("\nThe second process knew the name from the store alone." if knew else "\nIt forgot.")
    return 0 if knew else 1


def _table(messages: Iterable[SessionMessage]) -> Iterable[str]:
    yield f"  {'role':<10} {'time (UTC)':<10} content"
    yield f"  {'-' * 10} {'-' * 10} {'-' * 40}"
    for message in messages:
        text = textwrap.shorten(str(message.content), 60, placeholder=" …")
        yield f"  {message.role:<10} {message.created_at:%H:%M:%S}   {text}"


if __name__ == "__main__":
    sys.exit(main())
