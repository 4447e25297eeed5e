"""The suite put together: what a store's test class inherits from."""

from __future__ import annotations

from sessionstore.testing.appending import AppendContract
from sessionstore.testing.arguments import ArgumentContract
from sessionstore.testing.blocking import WaitContract
from sessionstore.testing.cancelling import CancelContract
from sessionstore.testing.concurrency import ConcurrencyContract
from sessionstore.testing.content import ContentContract
from sessionstore.testing.crashing import CrashContract
from sessionstore.testing.crowds import CrowdContract
from sessionstore.testing.deleting import DeleteMessagesContract
from sessionstore.testing.erasing import ErasureContract
from sessionstore.testing.expiry import ExpiryContract
from sessionstore.testing.forking import ForkContract, ForkVolumeContract
from sessionstore.testing.identifiers import IdentifierContract
from sessionstore.testing.leasing import LeaseContract, SharedLeaseContract
from sessionstore.testing.lifetime import LifetimeContract, RestartContract
from sessionstore.testing.listing import ListContract
from sessionstore.testing.operations import OperationContract
from sessionstore.testing.ownership import OwnershipContract
from sessionstore.testing.previews import PreviewContract
from sessionstore.testing.processes import ProcessContract
from sessionstore.testing.reading import ReadContract
from sessionstore.testing.resealing import ResealContract
from sessionstore.testing.restoring import RestoreContract, RestorePartsContract
from sessionstore.testing.rewinding import RewindContract, RewindVolumeContract
from sessionstore.testing.scarcity import ScarcityContract
from sessionstore.testing.sessions import SessionContract
from sessionstore.testing.several import SeveralContract
from sessionstore.testing.stateful import StatefulContract
from sessionstore.testing.summaries import SummaryContract
from sessionstore.testing.upkeep import SetupContract, SharedSetupContract, StatsContract
from sessionstore.testing.versions import VersionContract
from sessionstore.testing.volume import VolumeContract

__all__ = ["SessionStoreConformance", "SharedStoreConformance"]


class SessionStoreConformance(
    SessionContract,
    AppendContract,
    ReadContract,
    DeleteMessagesContract,
    RewindContract,
    ListContract,
    PreviewContract,
    VersionContract,
    OwnershipContract,
    IdentifierContract,
    ArgumentContract,
    ContentContract,
    ExpiryContract,
    LifetimeContract,
    CancelContract,
    ConcurrencyContract,
    CrowdContract,
    StatefulContract,
    VolumeContract,
    ForkContract,
    ForkVolumeContract,
    RewindVolumeContract,
    RestoreContract,
    RestorePartsContract,
    ResealContract,
    OperationContract,
    SeveralContract,
    LeaseContract,
    SummaryContract,
    ErasureContract,
    SetupContract,
    StatsContract,
):
    """Every clause of the contract of `SessionStore`, sync and async.

    A subclass gives the fixture ``open_store``: a callable that takes the store's options and
    opens a storage which is empty when the test starts. A store that shares nothing with
    another one, as one in memory, is tested by this class; all others by
    `SharedStoreConformance`.

    A store whose option for expiry is not ``retention_days`` overrides `expiring`; one whose
    backend deletes by itself what is expired sets `prunes` to false.

    What a store does not claim is left out by a flag, a class attribute that is set to ``False``;
    ``pytest -rs`` names each test that was left out, and the flag.

    - ``supports_expiry``: sessions are gone some time after their last write (guarantee 8).
    - ``supports_flat_cost``: a turn costs the same however much the session, and the storage,
      holds (guarantee 6). Without it 100,000 messages are not tried either.
    - ``supports_cancellation``: when a cancelled call comes back, it took effect or it never will
      (guarantee 9).
    - ``supports_nonblocking_async``: while an async call waits for the backend, or for another
      process, its event loop goes on.
    - ``supports_crash_safety``: a process that is killed in a write leaves all of it or nothing
      (guarantee 1).
    - ``supports_processes``: several processes use the storage at once.
    - ``supports_leases``: a session's lease has one holder at a time, and what carries one that was
      lost writes nothing.

    Nobody may leave out that an error of the driver or the system, such as an `OSError`, is raised
    as a `SessionStoreError`, and that a closed store refuses every call with one. No test looks at
    an error's words.

    Example::

        class TestInMemory(SessionStoreConformance):
            @pytest.fixture
            def open_store(self) -> OpenStore:
                return InMemorySessionStore
    """


class SharedStoreConformance(
    SessionStoreConformance,
    RestartContract,
    SharedSetupContract,
    SharedLeaseContract,
    ProcessContract,
    CrashContract,
    WaitContract,
    ScarcityContract,
):
    """The suite for a storage that many stores share, and that outlives them.

    Here ``open_store``, called twice in a test, opens the same storage twice. It has to be
    picklable, since it is called in other processes too: a class or function of a module, or a
    `functools.partial` of one. Such a process is killed at each step of a write, is held up in one
    while others wait, and is refused open files and space by the system.

    An event loop that stands still for `patience` seconds, 10 of them, is taken to be blocked.

    Example::

        class TestSQLite(SharedStoreConformance):
            @pytest.fixture
            def open_store(self, tmp_path: Path) -> OpenStore:
                return partial(SQLiteSessionStore, tmp_path / "sessions.db")

    and for one that expires in its own way::

        class TestRedis(SharedStoreConformance):
            prunes = False

            def expiring(self, seconds: float) -> dict[str, Any]:
                return {"ttl_seconds": seconds}
    """
