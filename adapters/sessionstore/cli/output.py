"""What commands write: results to the output, all else to the error output."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO

from sessionstore.cli.ending import Ending, Status, UsageError
from sessionstore.cli.text import as_json, in_a_line, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.style import StyleType

__all__ = [
    "binary_output",
    "confirm",
    "counted",
    "finish",
    "progress",
    "say",
    "say_json",
    "say_raw",
    "tell",
]


def say(text: str = "", style: StyleType = "") -> None:
    """Write a line of the result, in colour where the output is a terminal.

    Args:
        text: The line, which a terminal may be shown.
        style: How it looks on a terminal, in the words of Rich.
    """
    if style and sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
        from rich.text import Text  # noqa: PLC0415 - the same

        Console().print(Text(text, style=style), soft_wrap=True)
    else:
        sys.stdout.write(f"{text}\n")


def say_json(value: Any) -> None:
    """Write a JSON document."""
    say_raw(as_json(value) + "\n")


def say_raw(text: str) -> None:
    """Write a part of a document, in UTF-8 whatever the locale is."""
    binary_output().write(text.encode())


@cache
def binary_output() -> BinaryIO:
    """Give the output for bytes, which `finish` writes to its end.

    Python's own may be unbuffered, and then writes a part of what it is given.
    """
    sys.stdout.flush()
    return open(sys.stdout.fileno(), "wb", closefd=False)


def finish() -> None:
    """Write what is left of the output.

    Raises:
        BrokenPipeError: Nobody reads it any more.
    """
    sys.stdout.flush()
    if binary_output.cache_info().currsize:
        binary_output().flush()


def tell(text: str) -> None:
    """Write a line that is no result: an error, or what was done."""
    sys.stdout.flush()
    sys.stderr.write(f"sessionstore: {in_a_line(without_secrets(text))}\n")
    sys.stderr.flush()


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that can't be undone.

    Args:
        question: What is about to be done, without a question mark.
        yes: It was answered on the command line.

    Raises:
        UsageError: Nobody is there to answer.
        Ending: The answer was not yes.
    """
    if yes:
        return
    asked = in_a_line(without_secrets(question))
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"{asked}? Nobody is there to answer: give --yes to do it unasked")
    sys.stderr.write(f"{asked}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Ending(Status.FAILED, "nothing was done")


@contextmanager
def progress(
    what: str, unit: str = "", *, hidden: bool = False
) -> Iterator[Callable[[int, int | None, str], None]]:
    """Show how far something is, where the error output is a terminal.

    Args:
        what: What is done.
        unit: What is counted.
        hidden: Show nothing all the same.

    Yields:
        A function that is given how much is done, of how much (``None`` where that is not known),
        and a word on where it is.
    """
    if hidden or not sys.stderr.isatty():
        yield lambda done, total, where: None  # noqa: ARG005 - nobody looks
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import (  # noqa: PLC0415 - the same
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    text = TextColumn("{task.description}", markup=False)
    at = TextColumn("{task.fields[where]}", markup=False)
    columns = (text, BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), at)
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=None, where=unit)

        def advance(done: int, total: int | None, where: str) -> None:
            shown.update(task, completed=done, total=total, where=where)

        yield advance


def counted(number: int, thing: str) -> str:
    """Write a number of things."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
