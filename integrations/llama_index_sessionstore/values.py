"""What a LlamaIndex message holds beside its content, as JSON or bytes."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any
from weakref import WeakKeyDictionary

from pydantic import BaseModel

from sessionstore.binary import why_not_kept
from sessionstore.integration import dump_of

__all__ = ["data_of", "declared_beyond"]

_declared: WeakKeyDictionary[type[BaseModel], list[str]] = WeakKeyDictionary()


def data_of(value: Any) -> Any:
    """Turn the models of pydantic and the dataclasses in a value into data.

    Args:
        value: Any value.

    Returns:
        The value, with ``model_dump(mode="json")`` in place of each model, and a dict in place of
        each dataclass. Bytes stay bytes, in models too. What else JSON can't hold is left in: it is
        refused when the message is stored.
    """
    if isinstance(value, BaseModel):
        return dump_of(value)
    if isinstance(value, dict):
        return {key: data_of(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [data_of(inner) for inner in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {field.name: data_of(getattr(value, field.name)) for field in fields}
    return value


def declared_beyond(model: BaseModel, base: type[BaseModel]) -> dict[str, Any]:
    """Give the fields that a model's class declares beyond those of its base.

    Args:
        model: A message or a block of a class that an application derived.
        base: The class of LlamaIndex that it comes back as.

    Returns:
        The fields as data, by name. What is neither JSON nor bytes is left out.

    Warns:
        UserWarning: The class has such fields (said once), or what one of them holds is left out.
    """
    cls = type(model)
    names = _declared.get(cls)
    if names is None:
        fields = cls.model_fields.items()
        names = [name for name, it in fields if name not in base.model_fields and not it.exclude]
        _declared[cls] = names
        if names:
            _warn(f"a {cls.__name__} comes back as a {base.__name__}, {_ATTRIBUTES}")
    kept = {name: _field_of(model, name) for name in names if name in model.__dict__}
    kept.update(data_of(model.model_extra or {}))
    for name, value in dict(kept).items():
        if why := why_not_kept(value):
            _warn(f"the field {name!r} of a {cls.__name__} is not kept: it holds {why}")
            del kept[name]
    return kept


_ATTRIBUTES = "with the fields that its class declares as attributes: read .field, not isinstance"


def _field_of(model: BaseModel, name: str) -> Any:
    try:
        return dump_of(model, {name})[name]
    except (ValueError, TypeError, KeyError):
        return getattr(model, name)


def _warn(text: str) -> None:
    warnings.warn(text, UserWarning, stacklevel=2)
