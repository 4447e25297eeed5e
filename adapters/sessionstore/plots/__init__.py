"""Pictures of a session and of an outage, by matplotlib: for notebooks, reports and files."""

try:
    import matplotlib as _matplotlib  # noqa: F401, ICN001 - to say what is missing
except ImportError as _error:
    raise ImportError(
        "pictures need the plots extra: pip install 'sessionstore[plots]'", name=_error.name
    ) from _error

from sessionstore.plots.looks import Picture, Theme
from sessionstore.plots.outage import outage_timeline
from sessionstore.plots.session import session_timeline

__all__ = ["Picture", "Theme", "outage_timeline", "session_timeline"]
