"""Leases in a fallback: the primary keeps them, and nobody else."""

from __future__ import annotations

from typing import Any

from sessionstore.errors import OutageError
from sessionstore.fallback.parts import Parts
from sessionstore.fallback.requests import FallbackFlow
from sessionstore.operations import Operation

__all__ = ["lease_error", "refuse_lease"]


def refuse_lease(_: Parts, _lease: Operation[Any]) -> FallbackFlow[Any]:
    """Refuse to take a lease, to renew it, to give it back, or to tell whether it is held.

    Another process may hold it, by the primary's clock.
    """
    yield from ()
    raise lease_error()


def lease_error() -> OutageError:
    """Make the error of who asks for a lease, or carries one, in an outage."""
    return OutageError("leases can't be kept until the store is back")
