"""LlamaIndex's content blocks as JSON, and back: without a look at the files that they name."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    AudioBlock,
    BaseContentBlock,
    CacheControl,
    CachePoint,
    CitableBlock,
    CitationBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from pydantic import AnyUrl, BaseModel, ValidationError

__all__ = ["Block", "block_of", "dump_of", "made"]

B = TypeVar("B", bound=BaseModel)
Block = dict[str, Any]

_CLASSES: dict[str, type[BaseContentBlock]] = {
    "text": TextBlock,
    "image": ImageBlock,
    "audio": AudioBlock,
    "video": VideoBlock,
    "document": DocumentBlock,
    "cache": CachePoint,
    "citable": CitableBlock,
    "citation": CitationBlock,
    "thinking": ThinkingBlock,
    "tool_call": ToolCallBlock,
}
_BYTES = {"image", "audio", "video", "data"}
_IS_PATH = "is_path"

# A model of pydantic keeps its state in these. To set them one by one, past its own way to be made,
# is what most of the time to read a history goes into.
_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def made(cls: type[B], fields: dict[str, Any], given: set[str]) -> B:
    """Make a model of what is known to be valid, in a tenth of the time that it takes to check.

    Args:
        cls: The model's class.
        fields: All of its fields.
        given: Which of them were not left at their defaults.

    Returns:
        The model, which keeps both.
    """
    model: B = _new(cls)
    _set_fields(model, fields)
    _set_given(model, given)
    _set_extra(model, None)
    _set_private(model, None)
    return model


def dump_of(block: BaseModel) -> Block:
    """Give a block's fields as JSON, those at their defaults left out.

    Args:
        block: A content block of LlamaIndex.

    Returns:
        One JSON object: bytes as text in base64, paths and addresses as text.
    """
    if any(isinstance(value, io.IOBase) for value in block.__dict__.values()):
        block = type(block).model_validate(block.model_dump())  # which reads it
    dump: Block = {}
    for name, field in type(block).model_fields.items():
        value = getattr(block, name)
        if name != "block_type" and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, PurePath) and isinstance(block, DocumentBlock):
            dump[_IS_PATH] = True  # of this block alone, the path may be plain text as well
        dump[name] = _json_of(value)
    return dump


def block_of(dump: Mapping[str, Any]) -> BaseContentBlock | None:
    """Give back the block of a dump.

    The framework's own validation is left out: it refuses a path whose file is not there any more.

    Args:
        dump: What `dump_of` gave.

    Returns:
        A block equal to the one that was dumped; ``None`` where this version of LlamaIndex has no
        such block, or takes no such address in it.
    """
    cls = _CLASSES.get(str(dump.get("block_type")))
    if cls is None:
        return None
    values = dict(dump)
    is_path = values.pop(_IS_PATH, cls is not DocumentBlock)
    for name, value in dump.items():
        if name in _BYTES:
            values[name] = value.encode()
        elif name == "path" and is_path:
            values[name] = Path(value)
        elif name == "url" and cls is not DocumentBlock:
            values[name] = _address(value)
            if values[name] is None:
                return None
    try:
        return _built(cls, _with_nested(cls, values))
    except (KeyError, TypeError):  # another version's block of that name
        return None


def _with_nested(cls: type[BaseContentBlock], values: Block) -> Block:
    if cls is CachePoint:
        values["cache_control"] = _built(CacheControl, values["cache_control"])
    elif cls is CitationBlock:
        values["cited_content"] = _known(values["cited_content"])
    elif cls is CitableBlock:
        values["content"] = [_known(nested) for nested in values["content"]]
    return values


def _known(dump: Block) -> BaseContentBlock:
    block = block_of(dump)
    if block is None:
        raise KeyError("block_type")
    return block


def _built(cls: type[B], values: Mapping[str, Any]) -> B:
    fields = {
        name: values[name]
        if field.is_required() or name in values
        else field.get_default(call_default_factory=True)
        for name, field in cls.model_fields.items()
    }
    return made(cls, fields, set(values))


def _address(url: str) -> AnyUrl | None:
    try:
        return AnyUrl(url)
    except ValidationError:  # another framework takes what is no address, too
        return None


def _json_of(value: Any) -> Any:
    if isinstance(value, BaseContentBlock):
        return dump_of(value)
    if isinstance(value, list):
        return [_json_of(item) for item in value]
    if isinstance(value, bytes):
        return value.decode() if value.isascii() else base64.b64encode(value).decode()
    return str(value) if isinstance(value, (PurePath, AnyUrl)) else value
