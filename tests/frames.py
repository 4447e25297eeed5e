"""What whoever shows tracebacks with their local variables would show of an error."""

from __future__ import annotations

from types import TracebackType


def shows(error: BaseException | None, *secrets: str) -> list[str]:
    """Give the variables of this package's frames, in an error and all behind it, with a secret."""
    found: list[str] = []
    seen: set[int] = set()
    links = [error]
    while links:
        link = links.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        links += [link.__cause__, link.__context__]
        found += [
            f"{name} of {where}"
            for where, name, text in _variables(link.__traceback__)
            if any(secret in text for secret in secrets)
        ]
    return found


def _variables(at: TracebackType | None) -> list[tuple[str, str, str]]:
    found = []
    while at is not None:
        code = at.tb_frame.f_code
        if "/sessionstore/" in code.co_filename:
            for name, value in at.tb_frame.f_locals.items():
                found.append((f"{code.co_filename}:{at.tb_lineno}", name, repr(value)))
        at = at.tb_next
    return found
