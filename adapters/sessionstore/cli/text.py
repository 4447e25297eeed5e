"""What may be shown on a terminal: text that drives nothing, and secrets that are left out."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

import msgspec

__all__ = ["as_json", "in_a_line", "in_lines", "without_secrets"]

# A terminal obeys control characters, and is turned round by what orders text from right to left.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
# What joins letters and pictures of one word, and marks its direction: words need them.
_KEPT = "\u200c\u200d\u200e\u200f"
_PICTURES = {**{code: chr(0x2400 + code) for code in range(32)}, 127: "\u2421"}
_NEW_LINES = re.compile(r"\r\n?")
# Up to the last @ before a blank: a password may hold anything else.
_SECRET = re.compile(r"(?P<scheme>[A-Za-z][\w+.-]*://)[^\s'\"]*@")
_OPTION = re.compile(r"(?i)(?P<name>(?:password|passwd|secret|token)=)[^&\s'\"]+")

# JSON lets these stand as they are, and a terminal obeys some of them.
_ESCAPED = [*range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A)]
_IN_JSON = {code: f"\\u{code:04x}" for code in _ESCAPED}


def in_lines(text: str) -> str:
    """Give a text of several lines as a terminal may show it.

    Args:
        text: What somebody wrote.

    Returns:
        The same with the pictures or the codes of what can't be seen, but for tabs and line ends.
    """
    if text.isprintable():
        return text
    text = _NEW_LINES.sub("\n", text)
    return "".join(c if c in "\n\t" else _seen(c) for c in text)


def in_a_line(value: object) -> str:
    """Give a name, an id or another short text as one line that a terminal may show."""
    text = str.__str__(value) if isinstance(value, str) else str(value)
    return text if text.isprintable() else "".join(map(_seen, text))


def without_secrets(text: str) -> str:
    """Leave the user and the password out of each URL in a text, and passwords of its options."""
    return _OPTION.sub(r"\g<name>***", _SECRET.sub(r"\g<scheme>***@", text))


def as_json(value: Any) -> str:
    """Write a value as one JSON document, valid for any content, that drives no terminal."""
    return msgspec.json.encode(value).decode().translate(_IN_JSON)


def _seen(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _UNSEEN:
        return character
    return _PICTURES.get(ord(character)) or repr(character)[1:-1]
