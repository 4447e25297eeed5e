"""What an integration with a framework needs besides the contract.

`StoreFlow` is work that yields operations. The frameworks' messages are models of pydantic:
`dump_of` turns one into data, `built` makes one of data that is known to be valid. `ended` waits
for a save whose caller was cancelled, `at_fork` has a method called at each fork, and
`checked_store` says what is wrong where no store was given.
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from sessionstore._runtime.forks import at_fork
from sessionstore._runtime.settling import ended
from sessionstore.binary import holds_bytes
from sessionstore.flow import Flow
from sessionstore.operations import Operation
from sessionstore.store import SessionStore

__all__ = ["StoreFlow", "at_fork", "built", "checked_store", "dump_of", "ended"]

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

StoreFlow: TypeAlias = Flow[Operation[Any], Any, T]
"""A flow that `sessionstore.flow.play` drives with a store's ``run``, or `aplay` with ``arun``."""

_DATA = (str, bytes, int, float, type(None))

# What pydantic documents as a model's state. To set it attribute by attribute takes a quarter off
# the time to read a history, against pydantic's pickle protocol, and half against its copies.
_new = object.__new__
_set_fields = BaseModel.__dict__["__dict__"].__set__
_set_given = BaseModel.__dict__["__pydantic_fields_set__"].__set__
_set_extra = BaseModel.__dict__["__pydantic_extra__"].__set__
_set_private = BaseModel.__dict__["__pydantic_private__"].__set__


def checked_store(store: Any) -> SessionStore:
    """Give back what is to be a store.

    Args:
        store: What the caller gave.

    Returns:
        The same.

    Raises:
        TypeError: It is not a `SessionStore`.
    """
    if isinstance(store, SessionStore):
        return store
    kind = type(store).__name__
    raise TypeError(f"store must be a SessionStore, not {kind}: open_store(url) makes one")


def built(
    cls: type[M], fields: dict[str, Any], given: set[str], extra: dict[str, Any] | None = None
) -> M:
    """Make a model of what is known to be valid, in a tenth of the time that it takes to check.

    Args:
        cls: The model's class.
        fields: All of its fields.
        given: Which of them were not left at their defaults.
        extra: What the class has no field for; ``None`` where it takes no extras.

    Returns:
        The model, which keeps all three.
    """
    model: M = _new(cls)
    _set_fields(model, fields)
    _set_given(model, given)
    _set_extra(model, extra)
    _set_private(model, None)
    return model


def dump_of(model: BaseModel, only: set[str] | None = None) -> Any:
    """Give what ``model_dump(mode="json")`` gives, but bytes stay bytes, which `binary` tags.

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
