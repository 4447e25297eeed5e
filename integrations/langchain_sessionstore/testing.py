"""`ScriptedChatModel`: a chat model that says what your test tells it to say."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from itertools import count
from threading import Lock
from typing import Any, TypeAlias, cast

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCall
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import PrivateAttr

__all__ = ["Line", "Part", "ScriptedChatModel", "call_tool"]

Part: TypeAlias = str | ToolCall | BaseException | type[BaseException]
"""What a line is made of: a text, a call of a tool, or an error that is raised in its place."""

Line: TypeAlias = Part | AIMessage | Sequence[Part] | Callable[[list[BaseMessage]], Any]
"""What the model says at one call: a part, several of them, a whole message, or a function that is
given the messages that the model is shown, and gives one of these."""


def call_tool(name: str, /, **args: Any) -> ToolCall:
    """Write a tool's call into a script.

    Example:
        >>> from langchain_sessionstore.testing import call_tool
        >>> call_tool("add", a=1, b=2)["args"]
        {'a': 1, 'b': 2}

    Args:
        name: The tool's name.
        args: Its arguments.

    Returns:
        The call. Its id is given by the model that says it: ``call-1``, ``call-2`` and so on.
    """
    return ToolCall(name=name, args=args, id=None, type="tool_call")


class _Counter:
    """Numbers, each given once: to threads, too, and a copy goes on by itself."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._lock = Lock()

    def __reduce__(self) -> tuple[type[_Counter], tuple[int]]:
        return _Counter, (self._next,)

    def taken(self) -> int:
        """Give the next one."""
        with self._lock:
            self._next += 1
            return self._next - 1


class ScriptedChatModel(BaseChatModel):
    """A chat model for tests: it says its lines in order, one at each call, and needs no network.

    It works wherever a chat model does: in a chain, in an agent, sync and async, and streaming,
    word by word. It notes what it was shown, so that a test can look at that.

    Example:
        >>> from langchain_sessionstore.testing import ScriptedChatModel, call_tool
        >>> model = ScriptedChatModel("Hello!", call_tool("add", a=1, b=2), TimeoutError("slow"))
        >>> model.invoke("Hi.").text
        'Hello!'
        >>> model.invoke("What is 1 + 2?").tool_calls[0]["name"]
        'add'
        >>> model.invoke("And 2 + 3?")
        Traceback (most recent call last):
            ...
        TimeoutError: slow
        >>> [messages[-1].text for messages in model.shown]
        ['Hi.', 'What is 1 + 2?', 'And 2 + 3?']

        Several calls at once, text before a call, a stream that breaks off, and an answer that is
        made of the question:

        >>> model = ScriptedChatModel(
        ...     [call_tool("add", a=1, b=2), call_tool("add", a=3, b=4)],
        ...     ["Let me see.", call_tool("add", a=5, b=6)],
        ...     ["The result ", ConnectionError("gone")],
        ...     lambda messages: f"You said: {messages[-1].text}",
        ... )

    Args:
        lines: What it says, call by call. An error, or a class of errors, is raised.
        cycle: Begin again at the end of the script; else one call more is an `AssertionError`.
    """

    lines: list[Any]
    cycle: bool = False
    _calls: _Counter = PrivateAttr(default_factory=lambda: _Counter(0))
    _ids: _Counter = PrivateAttr(default_factory=lambda: _Counter(1))
    _shown: dict[int, list[BaseMessage]] = PrivateAttr(default_factory=dict)
    _tools: dict[int, list[str]] = PrivateAttr(default_factory=dict)

    def __init__(self, *lines: Line, cycle: bool = False, **kwargs: Any) -> None:
        """Take the script. Other arguments are those of every chat model."""
        super().__init__(**{"lines": list(lines), "cycle": cycle, **kwargs})

    @property
    def shown(self) -> list[list[BaseMessage]]:
        """What it was shown: the messages of each call, as they were then."""
        return [messages for _, messages in sorted(dict(self._shown).items())]

    @property
    def tools_shown(self) -> list[list[str]]:
        """The names of the tools that it was given at each call."""
        return [tools for _, tools in sorted(dict(self._tools).items())]

    @property
    def left(self) -> int:
        """How many lines it has not said yet; ask at a test's end. Always 0 where it cycles."""
        return 0 if self.cycle else max(0, len(self.lines) - len(self._shown))

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Give the model these tools: whether it calls them is the script's to say.

        Args:
            tools: The tools.
            tool_choice: What a real model would have to call.
            kwargs: More for each call.

        Returns:
            The model, bound to them.
        """
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - the base class's signature
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the same
        **kwargs: Any,
    ) -> ChatResult:
        said = _message(self._next(messages, kwargs))
        return ChatResult(generations=[ChatGeneration(message=said)])

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002 - the same
        **kwargs: Any,
    ) -> ChatResult:
        return self._generate(messages, stop, **kwargs)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - the same
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in _chunks(self._next(messages, kwargs)):
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002 - the same
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in _chunks(self._next(messages, kwargs)):
            if run_manager:
                await run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    def _next(self, messages: list[BaseMessage], options: Mapping[str, Any]) -> AIMessage | Any:
        """Note what is shown, and give the next line: a message, or its parts."""
        number = self._calls.taken()
        self._shown[number] = [message.model_copy(deep=True) for message in messages]
        tools = options.get("tools") or []
        self._tools[number] = [tool.get("function", tool).get("name", "") for tool in tools]
        if number >= len(self.lines) and not (self.cycle and self.lines):
            lines = f"{len(self.lines)} line{'' if len(self.lines) == 1 else 's'}"
            raise AssertionError(f"the script has {lines}, and the model was asked once more")
        line = self.lines[number % len(self.lines)]
        if not isinstance(line, type) and callable(line):
            line = line(messages)
        if isinstance(line, AIMessage):
            return line.model_copy(deep=True)
        parts = line if isinstance(line, list | tuple) else [line]
        return [self._part(part) for part in parts]

    def _part(self, part: Any) -> str | ToolCall | BaseException:
        if isinstance(part, type) and issubclass(part, BaseException):
            return part("the script says so")
        if isinstance(part, Mapping) and {"name", "args"} <= part.keys():
            call = cast("ToolCall", {"id": None, "type": "tool_call", **part})
            return call if call["id"] else {**call, "id": f"call-{self._ids.taken()}"}
        if isinstance(part, str | BaseException):
            return part
        kind = type(part).__name__
        raise TypeError(f"a line is a text, call_tool(…), an error or a list of these, not {kind}")


def _message(line: AIMessage | list[Any]) -> AIMessage:
    if isinstance(line, AIMessage):
        return line
    if error := next((part for part in line if isinstance(part, BaseException)), None):
        raise error.with_traceback(None)
    text = "".join(part for part in line if isinstance(part, str))
    return AIMessage(text, tool_calls=[part for part in line if not isinstance(part, str)])


def _chunks(line: AIMessage | list[Any]) -> Iterator[ChatGenerationChunk]:
    if isinstance(line, AIMessage):
        yield from map(_chunk, _pieces(line))
        return
    calls = count()
    for part in line:
        if isinstance(part, BaseException):
            raise part.with_traceback(None)
        if isinstance(part, str):
            yield from (_chunk(AIMessageChunk(content=word)) for word in _words(part))
        else:
            yield _chunk(_called(part, next(calls)))


def _pieces(said: AIMessage) -> Iterator[AIMessageChunk]:
    """Take a whole message apart: text word by word, then its calls, then what is left of it."""
    words: list[Any] = _words(said.content) if isinstance(said.content, str) else [said.content]
    for word in words:
        yield AIMessageChunk(content=word, id=said.id)
    for number, call in enumerate(said.tool_calls):
        yield _called(call, number)
    rest = said.model_dump(exclude={"content", "type", "tool_calls", "invalid_tool_calls"})
    yield AIMessageChunk(content="", **rest)


def _words(text: str) -> list[str]:
    words = text.split(" ")
    return [word if number == 0 else f" {word}" for number, word in enumerate(words)]


def _called(call: ToolCall, number: int) -> AIMessageChunk:
    chunk = tool_call_chunk(
        name=call["name"], args=json.dumps(call["args"]), id=call["id"], index=number
    )
    return AIMessageChunk(content="", tool_call_chunks=[chunk])


def _chunk(message: AIMessageChunk) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=message)
