# ruff: noqa: F401
"""What is promised of one server, tried on two nodes behind nginx, which spreads all by chance.

The tests are those of the single server; `start_server` of this folder gives them several nodes.
"""

from __future__ import annotations

import pytest

from tests.process.test_parallel_and_idempotency import (
    test_fifty_messages_at_once_are_all_kept_each_reply_behind_its_question,
)
from tests.process.test_presence import (
    test_a_drop_a_return_and_a_second_drop_within_the_grace_end_once,
    test_a_reply_in_flight_is_finished_before_the_archive,
    test_closing_one_of_two_tabs_ends_nothing_and_the_last_ends_once,
    test_the_connected_event_tells_where_the_client_stands,
)
from tests.process.test_shutdown import (
    test_a_draining_server_refuses_new_work_and_says_so,
    test_sigterm_and_sigint_end_every_session_and_exit_0,
)

pytestmark = pytest.mark.process
