"""LlamaIndex's content blocks as JSON, and back: without reading the files that they name."""

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
from pydantic.fields import FieldInfo

from llama_index_sessionstore.values import data_of, declared_beyond
from sessionstore.forms.llama_index import DECLARED
from sessionstore.forms.llama_index_blocks import Block
from sessionstore.integration import built

__all__ = ["block_of", "declared_of", "dump_of", "with_declared"]

B = TypeVar("B", bound=BaseModel)

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
_FIELDS: dict[type[BaseModel], dict[str, FieldInfo]] = {
    cls: dict(cls.model_fields) for cls in _CLASSES.values()
}
_BYTES = {"image", "audio", "video", "data"}
_IS_PATH = "is_path"


def dump_of(block: BaseModel) -> Block:
    """Give a block's fields as JSON, those at their defaults left out.

    Args:
        block: A content block of LlamaIndex.

    Returns:
        One object, as data: media as text in base64, paths and addresses as text, other bytes as
        bytes. What a class derived from a block of LlamaIndex declares is under a key of its own.
    """
    if any(isinstance(value, io.IOBase) for value in block.__dict__.values()):
        block = type(block).model_validate(block.model_dump())  # which reads it
    fields = _FIELDS.get(type(block)) or _base_of(block).model_fields
    dump: Block = {}
    for name, field in fields.items():
        value = getattr(block, name)
        if name != "block_type" and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, PurePath) and isinstance(block, DocumentBlock):
            dump[_IS_PATH] = True  # of this block alone, the path may be plain text as well
        dump[name] = _json_of(value)
    if (type(block) not in _FIELDS or len(block.__dict__) > len(fields)) and (
        declared := declared_of(block)
    ):
        dump[DECLARED] = declared
    return dump


def declared_of(block: BaseModel) -> Block:
    """Give what a block has beyond the fields of LlamaIndex's own class.

    Args:
        block: A block of a class that an application derived, or one that has come back from it.

    Returns:
        The fields as data, by name.
    """
    known = _FIELDS.get(type(block))
    if known is None:
        return declared_beyond(block, _base_of(block))
    return {name: value for name, value in block.__dict__.items() if name not in known}


def with_declared(cls: type[BaseModel], fields: Block, declared: Block | None) -> Block:
    """Give a model its own fields, and beside them what a derived class declared.

    Args:
        cls: The model's class.
        fields: Its own fields.
        declared: What `declared_of` gave.

    Returns:
        Both; without names that mean something else to the class.
    """
    beside = {name: it for name, it in (declared or {}).items() if not hasattr(cls, name)}
    return {**beside, **fields}


def _base_of(block: BaseModel) -> type[BaseModel]:
    return next((cls for cls in type(block).__mro__ if cls in _FIELDS), type(block))


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
    declared = values.pop(DECLARED, None)
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
        return _built(cls, _with_nested(cls, values), declared)
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


def _built(cls: type[B], values: Mapping[str, Any], declared: Block | None = None) -> B:
    fields = {
        name: values[name]
        if field.is_required() or name in values
        else field.get_default(call_default_factory=True)
        for name, field in cls.model_fields.items()
    }
    return built(cls, with_declared(cls, fields, declared) if declared else fields, set(values))


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
    if isinstance(value, (dict, BaseModel)):
        return data_of(value)
    if isinstance(value, bytes):
        return value.decode() if value.isascii() else base64.b64encode(value).decode()
    return str(value) if isinstance(value, (PurePath, AnyUrl)) else value
