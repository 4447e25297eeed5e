"""Pydantic's models as data, for the integrations: JSON, and bytes, which `binary` tags."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from sessionstore.binary import holds_bytes

__all__ = ["dump_of"]

_DATA = (str, bytes, int, float, type(None))


def dump_of(model: BaseModel, only: set[str] | None = None) -> Any:
    """Give what ``model_dump(mode="json")`` gives, but bytes stay bytes.

    Args:
        model: The model.
        only: The fields; ``None`` for all.

    Returns:
        The data.
    """
    # A warning would quote what the model holds.
    dump = model.model_dump(include=only, warnings=False)
    if not holds_bytes(dump):
        return model.model_dump(mode="json", include=only, warnings=False)
    data = _json_but_bytes(dump)
    if not isinstance(dump, dict):
        return data
    # A model may say in JSON less than otherwise: a field without bytes is what it is there.
    plain = {name for name, inner in dump.items() if not holds_bytes(inner)}
    as_json = model.model_dump(mode="json", include=plain, warnings=False)
    return {**data, **{name: as_json[name] for name in plain & as_json.keys()}}


def _json_but_bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return {_key_of(key): _json_but_bytes(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_but_bytes(inner) for inner in value]
    return value if isinstance(value, _DATA) else to_jsonable_python(value)


def _key_of(key: Any) -> Any:
    return key if type(key) is str else next(iter(to_jsonable_python({key: None})))
