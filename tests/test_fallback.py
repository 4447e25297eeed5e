"""The fallback, with faults placed exactly: see faults.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from faults import FaultyStore

from sessionstore import (
    InMemorySessionStore,
)
from sessionstore.fallback import FallbackSessionStore
from sessionstore.testing import OpenStore, SessionStoreConformance
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.content import ContentContract
from sessionstore.testing.identifiers import IdentifierContract
from sessionstore.testing.reading import ReadContract

# -- The contract, as far as it can be kept ----------------------------------------------------


class TestHealthy(SessionStoreConformance):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return lambda **options: FallbackSessionStore(InMemorySessionStore(**options))


def faulty(faults: Callable[[], Iterator[str | None]]) -> OpenStore:
    def opened(**options: Any) -> FallbackSessionStore:
        primary = FaultyStore(InMemorySessionStore(**options))
        sequence = faults()
        primary.fault = lambda: next(sequence)
        return FallbackSessionStore(primary, retry_after=0)

    return opened


class Outage(AppendContract, ReadContract, ContentContract, IdentifierContract):
    """What an outage leaves of the contract: all but expected_version, expiry, and the unseen."""

    # The times of a session that was put back are those of the primary.
    test_append_of_nothing = test_reading_writes_nothing = None
    # Refused: what a session that was not seen holds can't be told.
    test_replace_of_what_is_not_there = test_paging_after_replace_and_update = None
    # A list leaves out what waits, and says that it is partial.
    test_metadata_comes_back_equal = None
    test_session_ids_never_meet = test_user_ids_never_meet = None


class TestDownFromTheStart(Outage):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.repeat("down"))


class TestDownAndUpAtEachRequest(Outage):
    # Read once here and once there: the times differ.
    test_a_bad_message_is_refused = test_later_changes_of_the_callers_objects = None

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.cycle(["down", None]))


class TestAnswersLost(Outage):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        return faulty(lambda: itertools.cycle([None, "lost", None, "down", "lost"]))
