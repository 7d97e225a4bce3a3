# ruff: noqa: F401
"""The rest of what is promised of one server, tried on two nodes; the long form of `test_scenarios.py`."""

from __future__ import annotations

import pytest

from tests.process.test_client import (
    test_a_network_that_cuts_anywhere_loses_and_doubles_nothing,
    test_a_suspended_client_goes_on_where_it_was,
    test_replies_through_a_network_that_cuts_come_whole_and_once,
)
from tests.process.test_parallel_and_idempotency import (
    test_a_caller_that_goes_away_stops_nothing,
    test_a_key_is_1_to_128_visible_ascii_characters,
    test_a_key_is_its_users_own,
    test_a_repeat_while_the_first_call_runs_waits_for_its_answer,
    test_a_repeat_with_another_body_is_refused,
)
from tests.process.test_presence import (
    test_a_blip_shorter_than_the_grace_loses_nothing,
    test_a_call_in_the_grace_goes_on_and_the_fallback_ends_it,
    test_a_call_without_any_connection_is_archived_by_the_fallback,
    test_a_drop_a_return_and_a_second_drop_within_the_grace_end_once,
    test_a_link_that_drops_again_in_mid_replay_loses_and_doubles_nothing,
    test_a_reply_in_flight_is_finished_before_the_archive,
    test_a_return_within_the_grace_stops_it,
    test_a_session_without_a_message_leaves_no_file,
    test_an_id_older_than_the_log_is_told_as_a_gap,
    test_an_id_that_cant_be_continued_is_told_as_a_gap,
    test_cuts_while_others_talk_lose_and_double_nothing,
    test_resuming_by_header_and_by_query,
    test_scope_absent_leaves_a_connected_idle_user_alone,
    test_scope_idle_ends_a_connected_idle_user_and_tells_the_connection,
    test_the_connected_event_tells_where_the_client_stands,
    test_the_id_of_connected_loses_nothing_at_a_second_drop,
    test_what_comes_while_a_stream_opens_follows_the_replay_once,
)
from tests.process.test_shutdown import test_sigterm_and_sigint_end_every_session_and_exit_0
from tests.process.test_user_limits import (
    test_an_event_larger_than_log_and_outbox_reaches_who_reads_and_is_a_gap_for_who_was_away,
)
from tests.process.test_watching import test_a_page_that_watches_holds_up_no_stop

pytestmark = [pytest.mark.process, pytest.mark.long]
