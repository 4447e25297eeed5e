"""What a LangChain message holds beside its content, as JSON or bytes."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
from langchain_core.messages import BaseMessage
from pydantic import BaseModel

from sessionstore.binary import why_not_kept
from sessionstore.integration import dump_of

__all__ = ["declared_beyond", "json_of"]

_encode = msgspec.json.Encoder().encode
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
            return _without_models(value)
    except (ValueError, OverflowError, RecursionError):
        pass
    return value


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
    for name, value in dict(kept).items():
        if why := why_not_kept(value):
            _warn(f"the field {name!r} of a {cls.__name__} is not kept: it holds {why}")
            del kept[name]
    return kept


_EXTRAS = "with the fields that it declares as extras: read message.field, not isinstance"


def _field_of(message: BaseMessage, name: str) -> Any:
    try:
        return dump_of(message, {name})[name]
    except (ValueError, TypeError, RecursionError, KeyError):
        return getattr(message, name)


def _without_models(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_models(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_models(inner) for inner in value]
    return dump_of(value) if isinstance(value, BaseModel) else value


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=2)
