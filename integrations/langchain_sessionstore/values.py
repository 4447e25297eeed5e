"""What stands beside the words of a LangChain message, as data that JSON can hold; or bytes can."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from langchain_core.messages import BaseMessage
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from sessionstore import SessionMessage
from sessionstore.binary import holds_bytes, tag_bytes
from sessionstore.models import why_not_json

__all__ = ["declared_beyond", "json_of", "why_not_kept"]

_encode = msgspec.json.Encoder().encode
_DATA = (str, bytes, int, float, type(None))
_declared: WeakKeyDictionary[type[BaseMessage], list[str]] = WeakKeyDictionary()


def json_of(value: Any) -> Any:
    """Turn the models of pydantic in a value into their JSON.

    Args:
        value: Any value.

    Returns:
        The value, with ``model_dump(mode="json")`` in place of each model. A model's bytes stay
        bytes. Where a model can't be dumped, the value as it is: the store refuses it.
    """
    try:
        try:
            _encode(value)  # a tenth of the time that looking takes
        except TypeError:
            return _changed(value, _of_model)
    except (ValueError, OverflowError, RecursionError):
        pass
    return value


def why_not_kept(value: Any) -> str:
    """Say what in a value is neither JSON nor bytes.

    Args:
        value: Any value.

    Returns:
        What it is, by its type and never by its content; ``""`` where all can be kept.
    """
    return why_not_json(tag_bytes(SessionMessage("", extra={"": {"": value}})).extra)


def declared_beyond(message: BaseMessage, base: type[BaseMessage]) -> dict[str, Any]:
    """Give the fields that a message's class declares beyond those of its base.

    Args:
        message: A message of a class that an application or a provider derived.
        base: The class of langchain-core that it comes back as.

    Returns:
        The fields as JSON, by name. What is neither JSON nor bytes is left out.

    Warns:
        UserWarning: The class has such fields (said once), or what one of them holds is left out.
    """
    cls = type(message)
    names = _declared.get(cls)
    if names is None:
        known = base.model_fields
        fields = cls.model_fields.items()
        names = [name for name, field in fields if name not in known and not field.exclude]
        _declared[cls] = names
        if names:
            _warn(f"messages of the class {cls.__name__} come back as {base.__name__}, {_EXTRAS}")
    kept = {name: _field_of(message, name) for name in names if name in message.__dict__}
    for name, value in list(kept.items()):
        if why := why_not_kept(value):
            _warn(f"the field {name!r} of a {cls.__name__} is not kept: it holds {why}")
            del kept[name]
    return kept


_EXTRAS = "with the fields that it declares as extras: read message.field, not isinstance"


def _field_of(message: BaseMessage, name: str) -> Any:
    try:
        return _dump_of(message, {name})[name]
    except (ValueError, TypeError, RecursionError, KeyError):
        return getattr(message, name)


def _of_model(value: Any) -> Any:
    return _dump_of(value) if isinstance(value, BaseModel) else value


def _dump_of(model: BaseModel, only: set[str] | None = None) -> Any:
    dump = model.model_dump(include=only, warnings=False)  # a warning would tell a user's words
    if not holds_bytes(dump):
        return model.model_dump(mode="json", include=only, warnings=False)
    data = _changed(dump, _of_field, _key_of)
    if not isinstance(dump, dict):
        return data
    # A model may say in JSON less than otherwise: a field without bytes is what it is there.
    plain = {name for name, inner in dump.items() if not holds_bytes(inner)}
    as_json = model.model_dump(mode="json", include=plain, warnings=False)
    return {**data, **{name: as_json[name] for name in plain & as_json.keys()}}


def _of_field(value: Any) -> Any:
    return value if isinstance(value, _DATA) else to_jsonable_python(value)


def _key_of(key: Any) -> Any:
    return key if type(key) is str else next(iter(to_jsonable_python({key: None})))


def _same(key: Any) -> Any:
    return key


def _changed(value: Any, change: Callable[[Any], Any], key_of: Callable[[Any], Any] = _same) -> Any:
    if isinstance(value, dict):
        return {key_of(key): _changed(inner, change, key_of) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_changed(inner, change, key_of) for inner in value]
    return change(value)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=2)
