"""For tests: a store that fails on purpose, and the tests that every `SessionStore` has to pass.

`FlakySessionStore` is for the tests of an application: it fails when it is told to.

The conformance suite is for those who write a store.

Subclass `SessionStoreConformance` in a test file and give it one fixture, ``open_store``; where
the storage outlives the store object, as a file or a server's does, subclass
`SharedStoreConformance`, which tests restarts and processes too::

    from functools import partial

    import pytest
    from sessionstore.testing import OpenStore, SharedStoreConformance

    class TestMyStore(SharedStoreConformance):
        @pytest.fixture
        def open_store(self, tmp_path) -> OpenStore:
            return partial(MyStore, tmp_path / "sessions")

Run it with ``pytest``. Each test is run sync and async: on the store's plain methods, and on their
async twins. No plug-in for asyncio is needed. The extra ``testing`` installs what is.

What a store does not claim is left out by flags: `SessionStoreConformance` lists them.

`InterruptContract` tests Ctrl-C, for a store whose driver bears that; inherit from it, too.
"""

try:
    import hypothesis as _hypothesis  # noqa: F401
    import pytest
except ImportError as _error:
    raise ImportError(
        "sessionstore.testing needs the testing extra: pip install 'sessionstore[testing]'"
    ) from _error

# Before they are imported, so that a plain assert in them shows what it compared.
pytest.register_assert_rewrite(
    *(
        f"sessionstore.testing.{name}"
        for name in (
            "appending",
            "blocking",
            "cancelling",
            "changes",
            "concurrency",
            "content",
            "crashing",
            "crowds",
            "deleting",
            "erasing",
            "expiry",
            "forking",
            "identifiers",
            "interrupts",
            "lifetime",
            "listing",
            "model",
            "operations",
            "ownership",
            "processes",
            "reading",
            "scarcity",
            "sessions",
            "stateful",
            "upkeep",
            "versions",
            "volume",
        )
    )
)

from sessionstore.testing.conformance import (  # noqa: E402
    SessionStoreConformance,
    SharedStoreConformance,
)
from sessionstore.testing.flaky import FlakySessionStore  # noqa: E402
from sessionstore.testing.interrupts import InterruptContract  # noqa: E402
from sessionstore.testing.modes import OpenStore, Stores  # noqa: E402

__all__ = [
    "FlakySessionStore",
    "InterruptContract",
    "OpenStore",
    "SessionStoreConformance",
    "SharedStoreConformance",
    "Stores",
]
