"""The contract, without what one kind of a backend can't do otherwise than another kind of it."""


class Checked:
    """Comes before a suite, and takes out what is decided before a backend is asked.

    Tried on memory, on SQL in memory, and on a fallback in an outage.
    """

    # Refused when the operation is made, or when it is encoded.
    test_a_bad_message_is_refused = test_bad_metadata_is_refused = None
    test_metadata_that_is_no_dict_is_refused = test_invalid_arguments_are_refused = None
    test_an_invalid_id_is_refused = test_an_invalid_message_id_is_refused = None
    test_a_list_refuses_an_invalid_limit = test_reading_refuses_an_invalid_limit = None
    test_what_can_not_be_restored_is_refused = test_what_can_not_be_swapped_is_refused = None
    test_delete_messages_refuses_an_invalid_id = test_an_invalid_version_is_refused = None


class Shorter(Checked):
    """Takes out, beside that, what is of 100,000 messages.

    Tried on memory, and by the soak on all.
    """

    test_a_long_session_is_used_as_a_short_one = test_a_long_session_is_forked = None
    test_a_long_session_is_rewound = None


class Lighter(Shorter):
    """Takes out, beside that, what is this package's own, whatever the server.

    Tried on each backend's first kind, and by the soak on all.
    """

    # Turned into bytes before it is sent; each kind of message is still tried.
    test_any_messages_come_back_equal = test_any_metadata_comes_back_equal = None
    # Processes of their own, which differ by the driver at most.
    test_a_killed_writer_leaves_all_or_nothing = test_a_killed_fork_leaves_all_or_nothing = None
    test_refusals_of_the_system_are_store_errors = None
    test_an_async_call_that_waits_leaves_the_loop_free = None
    test_a_call_cancelled_while_it_waits_is_settled = None
