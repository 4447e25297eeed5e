"""Sessions moved from one place to another: to a file, from a file, from store to store."""

from sessionstore.transfer.copying import acopy_sessions, copy_sessions
from sessionstore.transfer.exporting import aexport_sessions, export_sessions
from sessionstore.transfer.importing import (
    aimport_from,
    aimport_sessions,
    import_from,
    import_sessions,
)
from sessionstore.transfer.jsonl import TransferFileError
from sessionstore.transfer.reports import (
    LeftSession,
    OnProgress,
    TransferProgress,
    TransferReport,
)

__all__ = [
    "LeftSession",
    "OnProgress",
    "TransferFileError",
    "TransferProgress",
    "TransferReport",
    "acopy_sessions",
    "aexport_sessions",
    "aimport_from",
    "aimport_sessions",
    "copy_sessions",
    "export_sessions",
    "import_from",
    "import_sessions",
]
