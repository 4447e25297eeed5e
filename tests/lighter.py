"""The contract, without what one kind of a backend can't do otherwise than another kind of it."""


class Lighter:
    """Comes before a suite, and takes out of it what is this package's own, whatever the server.

    Tried on each backend's first kind, and by the soak on all.
    """

    # Refused before a server is asked.
    test_a_bad_message_is_refused = test_bad_metadata_is_refused = test_metadata_is_a_dict = None
    test_what_is_no_id = test_what_is_no_message_id = None
    test_a_limit_that_is_none = test_a_version_that_is_none = None
    # Turned into bytes before it is sent; each kind of message is still tried.
    test_any_messages_come_back_equal = test_any_metadata_comes_back_equal = None
    # 100,000 messages: the statements are the same.
    test_a_long_session = None
    # Processes of their own, which differ by the driver at most.
    test_a_writer_that_is_killed = test_what_the_system_refuses = None
    test_an_async_call_that_waits_leaves_the_loop_free = None
    test_a_call_that_is_cancelled_as_it_waits = None
