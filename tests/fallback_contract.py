"""The contract of every store, as far as a fallback keeps it in an outage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from faults import FaultyStore

from sessionstore import FallbackSessionStore, InMemorySessionStore, SessionStore
from sessionstore.testing import OpenStore
from sessionstore.testing.appending import AppendContract
from sessionstore.testing.content import ContentContract
from sessionstore.testing.deleting import DeleteMessagesContract
from sessionstore.testing.identifiers import IdentifierContract
from sessionstore.testing.listing import ListContract
from sessionstore.testing.ownership import OwnershipContract
from sessionstore.testing.reading import ReadContract
from sessionstore.testing.restoring import RestoreContract
from sessionstore.testing.rewinding import RewindContract
from sessionstore.testing.sessions import SessionContract
from sessionstore.testing.versions import VersionContract

Faults = Callable[[], Iterator[str | None]]


def faulty(
    faults: Faults, fallback: Callable[[], SessionStore] = InMemorySessionStore
) -> OpenStore:
    """Open fallbacks over primaries in memory, whose requests fail as told."""

    def opened(**options: Any) -> FallbackSessionStore:
        primary = FaultyStore(InMemorySessionStore(**options))
        sequence = faults()
        primary.fault = lambda: next(sequence)
        return FallbackSessionStore(primary, fallback=fallback(), retry_after=0)

    return opened


class Outage(
    AppendContract,
    ReadContract,
    IdentifierContract,
    SessionContract,
    VersionContract,
    OwnershipContract,
    ListContract,
    DeleteMessagesContract,
    RewindContract,
    RestoreContract,
    ContentContract,
):
    """What an outage leaves of the contract: all but what is refused because it can't be known."""

    # Refused: expected_version, since others may write to the primary meanwhile.
    test_append_expects_a_version = test_update_expects_a_version = None
    test_another_version_writes_nothing = test_a_missing_session_is_at_version_0 = None
    test_a_conflict_is_raised_even_if_nothing_would_be_added = (
        test_a_retried_compare_and_append_conflicts
    ) = None
    test_racing_appends_at_one_version_have_one_winner = test_retried_conflicts_lose_no_update = (
        test_delete_messages_expects_a_version
    ) = None
    test_a_message_is_found_while_others_rewrite_the_session = None
    # Refused: to change a session that was not seen, or one that an append has made, since the
    # primary may hold more of it.
    test_replace_of_a_missing_message_is_refused = test_paging_goes_on_after_replace_and_update = (
        None
    )
    test_update_of_a_missing_session_is_refused = test_delete_of_a_missing_session_gives_false = (
        test_delete_messages_of_unknown_ids_writes_nothing
    ) = None
    test_replaced_and_updated_messages_can_be_deleted = (
        test_racing_deletes_get_each_message_once
    ) = None
    test_archiving_while_others_append_loses_nothing = None
    # Refused: another user of a session that an append has made, since the primary may hold it as
    # somebody else's; and what it tells would differ from what it tells of one that was seen.
    test_another_user_is_refused = test_the_error_is_the_same_for_all_sessions = None
    test_the_first_append_sets_the_owner = test_racing_users_have_one_owner = None
    test_a_session_without_an_owner_stays_open = test_no_session_belongs_to_nobody = None
    # Refused: to rewind a session that was not seen, or to a message that the primary may hold.
    test_a_rewind_of_what_is_not_there = test_rewind_expects_a_version = None
    test_another_user_can_not_rewind = test_a_rewind_is_undone_where_the_list_fails = None
    test_racing_rewinds_get_each_message_once = None
    # Not known: whose a session is that was made in the outage, since the primary may hold it as
    # somebody else's. Until then each user has their own: see test_fallback_users.py.
    test_a_caller_without_a_user_is_trusted = test_user_ids_never_meet = None
    test_another_users_session_is_not_restored = None
    # Refused: to make a session, and change it, in one step.
    test_restoring_is_a_step_among_others = None
    # Refused: a cursor of the primary, which it alone can tell from none.
    test_an_invalid_cursor_is_refused = None


class GoingDownAndUp(Outage):
    """What is left of that where the primary comes back in the middle of a test."""

    # The times of a session that was replayed are those of the primary.
    test_append_of_nothing_makes_no_session = test_reading_writes_nothing = (
        test_get_with_a_limit_counts_all_messages
    ) = None
    test_times_tell_when_it_was_made_and_written = (
        test_later_changes_of_the_callers_objects_change_nothing
    ) = None
    test_bad_metadata_is_refused = test_the_owner_may_do_all = None
    test_racing_creates_have_one_winner = None
    # Its version counts an answer that was lost, and what is replayed together counts once.
    test_each_write_counts_one = None
    # A list of the primary leaves out what waits, and says that it is partial; one that was begun
    # in the outage goes on as it was, one that was begun before it can't.
    test_session_ids_never_meet = None
    test_a_list_has_all_about_a_session = test_newest_activity_first = None
    test_a_list_is_filtered_by_agent_and_user = test_filters_hold_after_a_write = (
        test_pages_cover_the_list_once
    ) = test_a_page_may_be_larger_than_the_list = None
    test_paging_while_others_write_skips_no_session = test_a_page_has_50_sessions_by_default = None
    test_delete_removes_the_session_and_its_messages = test_metadata_comes_back_equal = None
    # Refused: to delete messages of a session that was replayed, and not read since.
    test_many_messages_are_deleted_at_once = None
    test_rewinding_while_others_append_loses_nothing = None
