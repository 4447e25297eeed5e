"""The names that spans and metrics share."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["OPERATION", "OUTCOME", "SCHEMA", "SCOPE", "STORE", "SYSTEM", "own_version"]

SCOPE = "sessionstore"
SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
SYSTEM, OPERATION = "db.system.name", "db.operation.name"
STORE, OUTCOME = "sessionstore.store", "sessionstore.outcome"


def own_version() -> str:
    """Give the version of this package."""
    try:
        return version("sessionstore")
    except PackageNotFoundError:  # it runs from its sources
        return ""
