"""Sessions moved from one place to another, and a user's data, erased or handed over."""

from sessionstore.transfer.copying import acopy_sessions, copy_sessions
from sessionstore.transfer.erasing import aerase_user, erase_user
from sessionstore.transfer.exporting import aexport_sessions, export_sessions
from sessionstore.transfer.handing_over import aexport_user, export_user
from sessionstore.transfer.importing import (
    aimport_from,
    aimport_sessions,
    import_from,
    import_sessions,
)
from sessionstore.transfer.jsonl import TransferFileError
from sessionstore.transfer.receipts import ErasureReceipt, ExportReceipt
from sessionstore.transfer.reports import (
    LeftSession,
    OnProgress,
    TransferProgress,
    TransferReport,
)

__all__ = [
    "ErasureReceipt",
    "ExportReceipt",
    "LeftSession",
    "OnProgress",
    "TransferFileError",
    "TransferProgress",
    "TransferReport",
    "acopy_sessions",
    "aerase_user",
    "aexport_sessions",
    "aexport_user",
    "aimport_from",
    "aimport_sessions",
    "copy_sessions",
    "erase_user",
    "export_sessions",
    "export_user",
    "import_from",
    "import_sessions",
]
