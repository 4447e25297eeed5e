"""OpenTelemetry's spans and metrics of what a store is asked; needs the extra ``otel``.

Names follow OpenTelemetry's semantic conventions: those of databases in version 1.44.0 (spans and
``db.client.operation.duration`` are stable there), and those of generative AI in version 0.1.0 (in
development). What they have no name for begins with ``sessionstore.``.
"""

try:
    import opentelemetry.trace  # noqa: F401 - only whether it is there
except ImportError as _error:
    raise ImportError(
        "sessionstore.tracing needs the otel extra: pip install 'sessionstore[otel]'"
    ) from _error

from sessionstore.tracing.store import TracedSessionStore

__all__ = ["TracedSessionStore"]
