"""What an operation and its result go through in a wrapper."""

from __future__ import annotations

from lighter import Lighter

from sessionstore.testing.appending import AppendContract
from sessionstore.testing.deleting import DeleteMessagesContract
from sessionstore.testing.forking import ForkContract
from sessionstore.testing.lifetime import LifetimeContract
from sessionstore.testing.listing import ListContract
from sessionstore.testing.operations import OperationContract
from sessionstore.testing.ownership import OwnershipContract
from sessionstore.testing.reading import ReadContract
from sessionstore.testing.rewinding import RewindContract
from sessionstore.testing.sessions import SessionContract
from sessionstore.testing.versions import VersionContract


class HandingOn(
    Lighter,
    OperationContract,
    LifetimeContract,
    SessionContract,
    AppendContract,
    ReadContract,
    DeleteMessagesContract,
    ForkContract,
    RewindContract,
    ListContract,
    VersionContract,
    OwnershipContract,
):
    """The contract of a store that hands all on: how sessions are kept is the inner store's."""
