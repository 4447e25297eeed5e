"""The command ``sessionstore``, also ``python -m sessionstore``: see "Command line" in the docs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

__all__ = ["main"]

_HINT = "sessionstore: the command line needs the cli extra: pip install 'sessionstore[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the command's name; that of the process if ``None``.

    Returns:
        The exit status: 0 when all went well; the others are in `sessionstore.cli.ending`.
    """
    if any(find_spec(name) is None for name in ("typer", "rich")):
        print(_HINT, file=sys.stderr)  # noqa: T201 - there is nothing else to say it by
        return 1
    try:
        from sessionstore.cli.running import run  # noqa: PLC0415 - it needs them
    except KeyboardInterrupt:
        return 130

    return run(sys.argv[1:] if arguments is None else list(arguments))
