"""The parts of an item's content as standard content blocks, and blocks as such parts.

The standard words are LangChain's standard content blocks; the parts are those of OpenAI's
Responses API. A reader has no word for all that the other has: what it has none for becomes a text
in brackets, which `placeholder` makes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["Block", "is_part", "output_part", "part_of", "placeholder", "text_of", "to_block"]

Block = dict[str, Any]

_NAMES = ("name", "title", "filename")
_TEXTS = ("text", "text-plain", "input_text", "output_text")
# A refusal is said in words, too.
_SAID = {"input_text": "text", "output_text": "text", "text": "text", "refusal": "refusal"}


def placeholder(block: Block) -> str:
    """Give a text in place of what the reader has no word for.

    Args:
        block: A block, a part or an item.

    Returns:
        Its kind and, if it has one, its name, in brackets.
    """
    kind = str(block.get("type") or "content")
    name = next((block[key] for key in _NAMES if isinstance(block.get(key), str)), None)
    return f"[{kind}: {name}]" if name else f"[{kind}]"


# -- From the Agents SDK --------------------------------------------------------------------------


def is_part(part: Any) -> bool:
    """Tell whether something looks like a part of a content."""
    return isinstance(part, dict) and isinstance(part.get("type"), str)


def to_block(part: Block) -> Block:
    """Give the standard block that says what a part says.

    Args:
        part: A part of the content of a message, or of a tool's output.

    Returns:
        The block; a text in brackets where there is no word for it.
    """
    kind = str(part.get("type"))
    if kind in _SAID and isinstance(part.get(_SAID[kind]), str):
        return {"type": "text", "text": part[_SAID[kind]]}
    reader = _MEDIA.get(kind)
    try:
        block = reader(part) if reader else None
    except (KeyError, TypeError, AttributeError):  # it is only called so
        block = None
    return block or {"type": "text", "text": placeholder(part)}


def _image(part: Block) -> Block | None:
    if isinstance(part.get("image_url"), str):
        return {"type": "image", **_address(part["image_url"])}
    return _by_id("image", part)


def _file(part: Block) -> Block | None:
    named = {"extras": {"filename": part["filename"]}} if part.get("filename") else {}
    if isinstance(part.get("file_data"), str):
        address = _address(part["file_data"])
        data = address if "base64" in address else {"base64": part["file_data"]}
        return {"type": "file", **data, **named}
    if isinstance(part.get("file_url"), str):
        return {"type": "file", "url": part["file_url"], **named}
    block = _by_id("file", part)
    return {**block, **named} if block else None


def _audio(part: Block) -> Block:
    audio = part["input_audio"]
    kind = "mpeg" if audio["format"] == "mp3" else str(audio["format"])
    return {"type": "audio", "base64": audio["data"], "mime_type": f"audio/{kind}"}


def _by_id(kind: str, part: Block) -> Block | None:
    known = part.get("file_id")
    return {"type": kind, "file_id": known} if isinstance(known, str) else None


def _address(url: str) -> Block:
    head, found, data = url.partition(";base64,")
    if found and head.startswith("data:"):
        return {"base64": data, "mime_type": head.removeprefix("data:")}
    return {"url": url}


_MEDIA: dict[str, Callable[[Block], Block | None]] = {
    "input_image": _image,
    "input_file": _file,
    "input_audio": _audio,
}


# -- To the Agents SDK ----------------------------------------------------------------------------


def part_of(block: Block, *, heard: bool = True) -> Block:
    """Give the part of an input that says what a block of any framework says.

    Beside the standard blocks, it knows those of OpenAI and Anthropic for images, audio and files,
    which LangChain keeps as the provider gave them.

    Args:
        block: A content block as it is stored.
        heard: Audio may be given. A tool's output has none.

    Returns:
        The part; a text in brackets where there is no word for it.
    """
    text = text_of(block)
    if text is not None:
        return {"type": "input_text", "text": text}
    writer = _PARTS.get(str(block.get("type")))
    try:
        part = writer(block) if writer else None
    except (KeyError, TypeError, AttributeError):  # it is only called so
        part = None
    if part is None or (part["type"] == "input_audio" and not heard):
        return {"type": "input_text", "text": placeholder(block)}
    return part


def output_part(block: Block) -> Block:
    """Give the part of a model's own message that says what a block says: it has texts only."""
    text = text_of(block)
    said = placeholder(block) if text is None else text
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def text_of(block: Block) -> str | None:
    """Give the text of a block, or ``None`` where it is no text."""
    text = block.get("text")
    return text if block.get("type") in _TEXTS and isinstance(text, str) else None


def _image_part(block: Block) -> Block | None:
    url = _url(block)
    if url is None and "image_url" in block:
        image = block["image_url"]
        url = image if isinstance(image, str) else image["url"]
    if url is not None:
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    if isinstance(block.get("file_id"), str):
        return {"type": "input_image", "file_id": block["file_id"], "detail": "auto"}
    return None


def _file_part(block: Block) -> Block | None:
    file = block["file"] if isinstance(block.get("file"), dict) else block
    name = (block.get("extras") or {}).get("filename") or file.get("filename")
    part: Block = {"type": "input_file"}
    url = file.get("file_data") or _url(block)
    if isinstance(url, str):
        part["file_data" if url.startswith("data:") else "file_url"] = url
    elif isinstance(file.get("file_id"), str):
        part["file_id"] = file["file_id"]
    else:
        return None
    return {**part, "filename": name} if isinstance(name, str) else part


def _audio_part(block: Block) -> Block | None:
    if isinstance(block.get("input_audio"), dict):
        return {"type": "input_audio", "input_audio": block["input_audio"]}
    data = block.get("base64") or block.get("data")
    kind = str(block.get("mime_type") or "").partition("/")[2].removeprefix("x-")
    if not isinstance(data, str) or not kind:
        return None
    known = "mp3" if kind == "mpeg" else kind
    return {"type": "input_audio", "input_audio": {"data": data, "format": known}}


def _url(block: Block) -> str | None:
    """Give a medium's address: one with its bytes in it where they are here."""
    source = block.get("source")
    if isinstance(source, dict):  # Anthropic's
        block = {**source, "mime_type": source.get("media_type")}
    data = block.get("base64") or block.get("data")
    if isinstance(data, str):
        mime_type = block.get("mime_type") or "application/octet-stream"
        return f"data:{mime_type};base64,{data}"
    url = block.get("url")
    return url if isinstance(url, str) else None


_PARTS: dict[str, Callable[[Block], Block | None]] = {
    "image": _image_part,
    "image_url": _image_part,
    "file": _file_part,
    "document": _file_part,
    "audio": _audio_part,
    "input_audio": _audio_part,
}
