"""LlamaIndex's content blocks in standard words, for other frameworks; and theirs for LlamaIndex.

The standard words are LangChain's standard content blocks. A LlamaIndex block stands here as the
JSON that its fields are, those at their defaults left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

__all__ = ["Block", "from_standard", "placeholder", "to_standard"]

Block = dict[str, Any]

# Of a LlamaIndex block that holds a medium: where its bytes are, and where their type.
_MEDIA = {
    "image": ("image", "image_mimetype"),
    "audio": ("audio", "format"),
    "video": ("video", "video_mimetype"),
    "document": ("data", "document_mimetype"),
}
_NAMES = ("name", "title", "filename")


# -- From LlamaIndex ------------------------------------------------------------------------------


def to_standard(dump: Block) -> Block | None:
    """Give the standard block that says what a LlamaIndex block says.

    Args:
        dump: The LlamaIndex block.

    Returns:
        The standard block; ``None`` where there is no word for it.
    """
    kind = dump["block_type"]
    if kind == "text":
        return {"type": "text", "text": dump["text"]}
    if kind == "thinking":
        return _reasoning(dump.get("content", ""), dump.get("additional_information"))
    if kind in _MEDIA:
        return _medium(kind, dump)
    return None


def placeholder(block: Block) -> str:
    """Give a text in place of a block that the reader has no block for.

    Args:
        block: A block of any framework.

    Returns:
        Its kind and, if it has one, its name, in brackets.
    """
    kind = str(block.get("block_type") or block.get("type") or "content")
    name = next((block[key] for key in _NAMES if isinstance(block.get(key), str)), None)
    if name is None and isinstance(block.get("path"), str):
        name = PurePath(block["path"]).name
    return f"[{kind}: {name}]" if name else f"[{kind}]"


def _reasoning(text: str, more: Block | None) -> Block:
    standard = {"type": "reasoning", "reasoning": text}
    return {**standard, "extras": more} if more else standard


def _medium(kind: str, dump: Block) -> Block | None:
    data, type_field = _MEDIA[kind]
    standard: Block = {"type": "file" if kind == "document" else kind}
    if data in dump:
        standard["base64"] = dump[data]
    elif "url" in dump:
        standard["url"] = dump["url"]
    else:
        return None  # a file on somebody's disk
    mime_type = dump.get(type_field)
    if mime_type and kind == "audio":
        mime_type = f"audio/{'mpeg' if mime_type == 'mp3' else mime_type}"
    if mime_type:
        standard["mime_type"] = mime_type
    if "title" in dump:
        standard["extras"] = {"filename": dump["title"]}
    return standard


# -- To LlamaIndex --------------------------------------------------------------------------------


def from_standard(block: Block) -> Block | None:
    """Give the LlamaIndex block that says what another framework's block says.

    Beside the standard blocks, it knows those of OpenAI and Anthropic for images, audio, files and
    reasoning, which LangChain keeps as the provider gave them.

    Args:
        block: A content block as it is stored.

    Returns:
        The LlamaIndex block; ``None`` where it has no word for it.
    """
    reader = _READERS.get(str(block.get("type")))
    try:
        dump = reader(block) if reader else None
    except (KeyError, TypeError, AttributeError, ValueError):  # it is only called so
        return None
    return dump if dump and all(_fits(*field) for field in dump.items()) else None


def _fits(name: str, value: object) -> bool:
    return isinstance(value, dict if name == "additional_information" else str)


def _text(block: Block) -> Block:
    return {"block_type": "text", "text": block["text"]}


def _thinking(block: Block) -> Block:
    if "summary" in block and "reasoning" not in block:  # OpenAI's Responses
        text = "\n".join(part["text"] for part in block["summary"])
        return {"block_type": "thinking", "content": text}
    dump: Block = {"block_type": "thinking", "content": block["reasoning"]}
    return {**dump, "additional_information": block["extras"]} if block.get("extras") else dump


def _anthropic_thinking(block: Block) -> Block:
    more = {"signature": block["signature"]} if "signature" in block else None
    return _thinking(_reasoning(block["thinking"], more))


def _image_url(block: Block) -> Block | None:
    image = block["image_url"]
    url = image if isinstance(image, str) else image["url"]
    dump = from_standard({"type": "image", "url": url})
    if dump and isinstance(image, dict) and image.get("detail"):
        dump["detail"] = image["detail"]
    return dump


def _input_audio(block: Block) -> Block:
    audio = block["input_audio"]
    return {"block_type": "audio", "audio": audio["data"], "format": audio["format"]}


def _openai_file(block: Block) -> Block | None:
    file = block["file"]
    extras = {"filename": file["filename"]} if file.get("filename") else {}
    return from_standard({"type": "file", "url": file["file_data"], "extras": extras})


def _media_reader(kind: str) -> Callable[[Block], Block | None]:
    def read(block: Block) -> Block | None:
        if kind == "document" and isinstance(block.get("file"), dict):
            return _openai_file(block)
        data, type_field = _MEDIA[kind]
        mime_type, content, url = _source(block)
        dump: Block = {"block_type": kind}
        if content:
            dump[data] = content
        elif url:
            dump["url"] = url
        else:
            return None  # an id in a provider's store of files, say
        if mime_type:
            dump[type_field] = _format(mime_type) if kind == "audio" else mime_type
        if kind == "document":
            extras = block.get("extras") or {}
            title = extras.get("filename") or block.get("filename") or block.get("title")
            if title:
                dump["title"] = title
        return dump

    return read


def _source(block: Block) -> tuple[str | None, str | None, str | None]:
    """Give a medium's type, its bytes in base64, and its address: as far as they are known."""
    source = block.get("source")
    if isinstance(source, dict):  # Anthropic's
        return source.get("media_type"), source.get("data"), source.get("url")
    url = block.get("url")
    content = block.get("base64") or block.get("data")
    mime_type = block.get("mime_type")
    if isinstance(url, str) and url.startswith("data:") and ";base64," in url:
        head, _, content = url.partition(";base64,")
        return mime_type or head[len("data:") :], content, None
    return mime_type, content, url


def _format(mime_type: str) -> str:
    name = mime_type.partition("/")[2].removeprefix("x-")
    return "mp3" if name == "mpeg" else name


_READERS: dict[str, Callable[[Block], Block | None]] = {
    "text": _text,
    "text-plain": _text,
    "input_text": _text,
    "output_text": _text,
    "reasoning": _thinking,
    "thinking": _anthropic_thinking,
    "image": _media_reader("image"),
    "image_url": _image_url,
    "audio": _media_reader("audio"),
    "input_audio": _input_audio,
    "video": _media_reader("video"),
    "file": _media_reader("document"),
    "document": _media_reader("document"),
}
