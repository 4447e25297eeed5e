"""Runs the command line, and ends it: one plain line for an error, and the exit status."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, TextIO

from sessionstore.cli.app import app
from sessionstore.cli.ending import INTERRUPTED, Ending, Status, status_of, words_of
from sessionstore.cli.output import finish, tell

__all__ = ["run"]

_NAME = "sessionstore"


def run(arguments: list[str]) -> int:
    """Run the command line.

    Args:
        arguments: What follows the command's name.

    Returns:
        The exit status.
    """
    _prepare()
    try:
        ended = app(args=arguments or ["--help"], prog_name=_NAME, standalone_mode=False)
        finish()
    except BaseException as error:  # noqa: BLE001 - each ends the command
        with suppress(OSError):  # nobody reads it any more
            finish()
        return _end(error)
    return ended if isinstance(ended, int) else Status.OK


def _prepare() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(OSError):  # one whose file was changed under it
                stream.reconfigure(errors="backslashreplace")  # whatever the locale's letters are
    # What the package logs is an error of a command, or of no interest to who typed it.
    logging.getLogger("sessionstore").addHandler(_Told())
    logging.getLogger("sessionstore").propagate = False


class _Told(logging.Handler):
    """Tells of warnings in the words of the command line."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


def _end(error: BaseException) -> int:
    if isinstance(error, SystemExit):  # help, a version, shell completion
        return error.code if isinstance(error.code, int) else Status.OK
    if isinstance(error, KeyboardInterrupt):
        error = Ending(Status.INTERRUPTED, INTERRUPTED)
    if os.environ.get("SESSIONSTORE_DEBUG") and not isinstance(error, Ending):
        raise error
    if hasattr(error, "format_message"):  # Typer's, or Click's where it is under Typer
        return _misused(error)
    status = status_of(error)
    if status == Status.BROKEN_PIPE:
        _quieten(sys.stdout)
    else:
        if status == Status.INTERRUPTED and sys.stderr.isatty():
            sys.stderr.write("\n")  # behind the ^C
        tell(words_of(error))
    return status


def _misused(error: Any) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else _NAME
    message = str(error.format_message()).strip()
    end = "" if message.endswith((".", "?", "!")) else "."
    # Before the command there are --help, --version and those for completion alone.
    hint = "Options follow the command. " if _is_misplaced(error, command) else ""
    tell(f"{message}{end} {hint}See {command} --help")
    return Status.USAGE


def _is_misplaced(error: Any, command: str) -> bool:
    return command == _NAME and hasattr(error, "option_name")


def _quieten(stream: TextIO) -> None:
    """Have nothing more written to a pipe that nobody reads, at the interpreter's end either."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
