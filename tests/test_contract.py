"""The contract's sections on HTTP, sessions and files, sentence by sentence, and what checks each."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Row:
    """One sentence of the contract.

    Attributes:
        promise: The sentence, in short words of our own.
        checks: The tests that fail when it is broken: `folder/file::test`, without `tests/` and `.py`.
    """

    promise: str
    checks: tuple[str, ...]


def row(promise: str, *checks: str) -> Row:
    """A sentence and its tests; a check that names no file is of the file before it."""
    named: list[str] = []
    for check in checks:
        named.append(f"{named[-1].partition('::')[0]}{check}" if check.startswith("::") else check)
    return Row(promise, tuple(named))


STREAM = (
    row(
        "/subscribe answers an event stream that nobody caches or buffers",
        "web/test_subscribe::test_the_stream_opens_with_retry_and_connected",
    ),
    row(
        "it opens with a reconnection time: 1000 ms, or a quarter of a shorter grace that is not 0",
        "contract/test_http::test_the_reconnection_time_follows_the_grace",
    ),
    row(
        "`connected` names user and connection, tells if the user was here and if events are lost",
        "process/test_presence::test_the_connected_event_tells_where_the_client_stands",
    ),
    row(
        "modules add fields to it, each within a second, else null",
        "core/test_hooks::test_fields_of_a_failing_or_late_module_are_null",
        "process/test_misbehaving_modules"
        "::test_a_failing_module_neither_delays_connected_nor_the_archive_and_its_departure_is_parked",
    ),
    row(
        "the chat adds the conversation, and the newest dialog that ended since the last connection",
        "process/test_presence::test_the_connected_event_tells_where_the_client_stands",
        "chat/test_session_life"
        "::test_who_comes_back_later_begins_a_new_conversation_and_is_told_of_the_old_one",
        "::test_after_a_restart_the_newest_archive_is_told_once",
    ),
    row(
        "a log event has an id of epoch and number; a log that was lost has another epoch",
        "core/test_engine::test_ids_count_up_and_events_fan_out_in_order",
        "::test_a_log_that_comes_back_has_another_epoch",
    ),
    row(
        "the last id resumes, by header or by query, and the header wins",
        "web/test_subscribe::test_the_header_beats_the_query",
        "process/test_presence::test_resuming_by_header_and_by_query",
    ),
    row(
        "an id that is unknown, malformed or of the future is a gap",
        "core/test_engine::test_an_id_that_is_none_is_a_gap",
        "::test_an_id_from_the_future_is_a_gap",
        "::test_an_id_older_than_the_log_is_a_gap",
        "process/test_presence::test_an_id_that_cant_be_continued_is_told_as_a_gap",
    ),
    row(
        "`connected` has the id to go on from, so that a second drop loses nothing",
        "process/test_presence::test_the_id_of_connected_loses_nothing_at_a_second_drop",
    ),
    row(
        "broadcasts, `ping` and `shutdown` have no id and are not replayed",
        "contract/test_http::test_what_is_not_of_the_log_has_no_id_and_is_not_replayed",
    ),
    row("heartbeats are comments", "contract/test_http::test_a_heartbeat_is_a_comment"),
    row(
        "what passes by itself is answered 200, a spread reconnection time, `unavailable` and the end",
        "web/test_subscribe::test_too_many_connections_are_told_in_the_stream",
        "::test_a_stop_tells_every_subscriber_and_ends_the_streams",
        "contract/test_http::test_refused_clients_are_spread_over_time",
    ),
    row(
        "a failed authentication stays 401",
        "web/test_subscribe::test_without_a_credential_it_is_401_and_no_stream",
    ),
    row(
        "a lease is 10 to 300 seconds, anything else is 422",
        "web/test_subscribe::test_a_lease_that_is_none_is_refused",
    ),
    row(
        "with a lease there are pings to acknowledge; without acks comes the end, with its cause",
        "web/test_subscribe::test_a_lease_ends_without_acks_and_lives_with_them",
    ),
    row(
        "our own clients ask for a lease of 90 seconds",
        "contract/test_http::test_our_own_clients_ask_for_a_lease_of_90_seconds",
    ),
    row(
        "without a lease a silent client is noticed within heartbeat and send limit, on Linux",
        "process/test_silent_death::test_a_client_whose_packets_are_dropped_is_gone_within_the_bound",
        "core/test_heartbeat::test_a_heartbeat_that_is_not_taken_ends_the_connection",
        "::test_every_connection_has_a_heartbeat_in_every_interval",
    ),
    row(
        "the docs tell what each platform and proxy gives",
        "contract/test_http::test_the_docs_tell_how_soon_a_dead_client_is_noticed",
    ),
)

WHO = (
    row("a bearer token is its user", "web/test_auth::test_a_valid_token_is_its_user"),
    row(
        "a login's cookie stands for the token: signed, hidden from scripts, for this site, secure under TLS",
        "web/test_auth::test_login_sets_a_cookie_that_stands_for_the_token",
        "::test_a_forged_cookie_is_401",
    ),
    row("a logout clears the cookie", "web/test_auth::test_logout_clears_the_cookie"),
    row(
        "a ticket opens a stream, once, within 30 s; then it serves that stream's reconnects",
        "web/test_auth::test_a_ticket_opens_one_stream_and_its_reconnects",
        "::test_a_ticket_waits_thirty_seconds",
        "::test_an_id_from_before_the_stream_is_not_enough",
    ),
    row(
        "a ticket is for streams alone",
        "contract/test_http::test_a_ticket_opens_streams_alone",
    ),
    row(
        "a token's end ends its streams, with its cause",
        "web/test_subscribe::test_a_token_that_expires_ends_its_stream",
    ),
)

CALLS = (
    row(
        "a call takes a JSON object of named arguments and answers JSON; an empty body is an empty object",
        "web/test_calls::test_names_are_camel_case_on_the_wire",
        "::test_an_empty_body_is_an_empty_object",
    ),
    row(
        "names are camelCase on the wire, snake_case in Python",
        "web/test_calls::test_names_are_camel_case_on_the_wire",
    ),
    row(
        "a generator streams for who asks: `delta` for each item, then `done`, or `error` with a problem",
        "web/test_calls::test_a_stream_gives_deltas_and_done",
        "chat/test_wire::test_a_call_streams_deltas_and_done",
    ),
    row(
        "else it is gathered into one result",
        "web/test_calls::test_without_asking_for_events_a_stream_is_gathered",
    ),
    row(
        "a caller that goes away stops nothing",
        "web/test_calls::test_a_caller_that_goes_away_stops_nothing",
        "process/test_parallel_and_idempotency::test_a_caller_that_goes_away_stops_nothing",
    ),
    row(
        "an idempotency key is 1 to 128 visible ASCII characters",
        "process/test_parallel_and_idempotency::test_a_key_is_1_to_128_visible_ascii_characters",
        "web/test_calls::test_an_idempotency_key_is_checked_and_handed_over",
    ),
    row(
        "for 24 h a repeat gets the first answer and adds nothing",
        "chat/test_idempotency::test_a_repeat_after_the_first_gets_its_answer_and_adds_nothing",
        "::test_after_a_day_a_key_is_new",
    ),
    row(
        "a repeat waits while the first call runs",
        "process/test_parallel_and_idempotency::test_a_repeat_while_the_first_call_runs_waits_for_its_answer",
    ),
    row(
        "a repeat completes a call whose reply a crash took",
        "process/test_parallel_and_idempotency"
        "::test_a_repeat_after_a_crash_before_the_reply_completes_the_first_call",
        "::test_a_repeat_after_a_crash_and_the_recovered_archive_asks_nothing_twice",
    ),
    row(
        "a repeat with another body is 422",
        "process/test_parallel_and_idempotency::test_a_repeat_with_another_body_is_refused",
    ),
    row(
        "the key survives a restart and an archive",
        "process/test_parallel_and_idempotency::test_a_repeat_gets_the_first_answer_and_adds_nothing",
    ),
)

ERRORS = (
    row(
        "errors are problem documents with the request's id",
        "web/test_calls::test_a_bad_body_is_refused_with_its_fields",
    ),
    row("what is no JSON is 400", "web/test_calls::test_a_bad_body_is_refused_with_its_fields"),
    row("401 comes with its challenge", "web/test_auth::test_an_invalid_token_is_401_and_says_so"),
    row(
        "a missing role is 403, nothing there 404, a wrong method 405",
        "web/test_calls::test_an_address_answers_to_its_method_alone",
    ),
    row("a body over the limit is 413", "web/test_calls::test_a_body_over_the_limit_is_413"),
    row("a body that is not called JSON is 415", "web/test_calls::test_a_body_must_be_called_json"),
    row(
        "422 names each bad field: no object, missing, unknown, wrong type, empty message, surrogate",
        "web/test_calls::test_a_bad_body_is_refused_with_its_fields",
        "chat/test_wire::test_bad_arguments_are_422_by_field",
    ),
    row(
        "429 says when to come back",
        "web/test_around::test_a_user_s_calls_are_limited_by_the_minute",
    ),
    row(
        "500 shows nothing of the inside",
        "web/test_calls::test_a_failing_method_answers_a_problem",
        "::test_an_unforeseen_failure_is_logged_with_its_request_id",
    ),
    row(
        "a model that fails is 502, one that is late 504",
        "chat/test_turns::test_a_model_that_fails_is_502_and_the_question_stays",
        "::test_a_model_that_is_late_is_504",
    ),
    row(
        "503 while draining or without the engine, with the time to come back",
        "web/test_around::test_draining_is_told_and_calls_are_refused",
        "chat/test_turns::test_an_engine_that_is_away_refuses_a_new_session",
    ),
    row("a full disk is 507", "chat/test_turns::test_a_journal_that_fails_is_507_or_503"),
)

PAGES = (
    row(
        "/health tells state, active sessions and uptime, without a token",
        "web/test_around::test_health_tells_how_the_server_is",
        "chat/test_wire::test_health_tells_of_sessions",
    ),
    row(
        "it is `draining`, with 503, on the way out",
        "web/test_around::test_draining_is_told_and_calls_are_refused",
    ),
    row(
        "there are probes for life and readiness",
        "contract/test_http::test_probes_metrics_and_description_need_no_token",
        "web/test_around::test_until_it_is_ready_calls_are_refused",
    ),
    row("there are metrics for Prometheus", "web/test_around::test_metrics_label_requests_by_closed_sets"),
    row(
        "a description is made from the modules' signatures",
        "web/test_calls::test_the_description_is_valid_openapi",
        "chat/test_wire::test_openapi_knows_the_results",
    ),
    row(
        "there are a chat page and an operations page",
        "web/test_pages::test_a_page_comes_with_a_strict_policy",
        "browser/test_admin::test_a_user_is_seen_to_come_talk_leave_and_be_archived",
    ),
)

WIRE = (
    row(
        "a chat call answers conversation, the reply's id, reply, reasoning and finish reason",
        "chat/test_wire::test_a_call_is_answered_with_camel_case_json",
    ),
    row(
        "all of the user's connections get question and reply",
        "chat/test_turns::test_all_connections_get_question_and_reply",
    ),
    row(
        "a growing reply is told at most once in 50 ms, and the log keeps the finished one instead",
        "chat/test_turns::test_deltas_are_merged_to_one_per_50_ms_and_leave_the_log_with_the_reply",
        "::test_no_delta_comes_after_the_whole_message",
    ),
    row(
        "the caller's own stream gets each piece as it comes",
        "chat/test_turns::test_the_caller_gets_each_delta_as_it_comes",
    ),
    row("a reply can be stopped", "chat/test_turns::test_stop_keeps_the_reply_so_far"),
    row(
        "the dialog and the archives can be read, by page",
        "chat/test_wire::test_the_dialog_and_its_archive_can_be_read",
        "::test_pages_of_archives_go_on_where_the_last_one_ended",
    ),
    row(
        "another user's archive is not found",
        "process/test_users::test_another_users_archive_is_not_found",
    ),
    row(
        "sessions of others are for admins",
        "chat/test_wire::test_admins_see_sessions_and_users_only_their_own",
        "chat/test_watching::test_watching_and_ending_are_for_admins_alone",
    ),
    row(
        "open connections are told when their session was archived",
        "chat/test_archiving::test_end_session_archives_now_and_tells_open_connections",
    ),
    row(
        "the echo is verbatim, word by word, and has a fixed reasoning",
        "chat/test_echo::test_the_message_comes_back_verbatim",
        "::test_it_comes_word_by_word",
        "::test_reasoning_is_a_fixed_text_beside_the_reply",
    ),
    row("JSON that was asked for is JSON", "chat/test_turns::test_json_output_is_json_or_a_clear_error"),
    row("a model's endpoint is asked, streamed", "chat/test_openai::test_a_reply_is_streamed"),
    row(
        "archives can be searched, page by page, without an index",
        "chat/test_archive_reader::test_a_search_tells_each_match_with_its_place",
        "search/test_searcher::test_a_search_finds_what_a_look_at_every_message_finds",
        "::test_archives_that_come_and_go_between_pages_move_nothing",
    ),
    row(
        "archives can be exported in three forms, whatever their number",
        "chat/test_archive_reader::test_an_export_is_a_download_in_each_form",
        "export/test_exporter::test_memory_stays_bounded",
        "web/test_downloads::test_an_error_in_the_middle_never_looks_like_a_whole_file",
    ),
    row(
        "archives can be named, pinned and deleted",
        "chat/test_archive_desk::test_an_archive_is_called_by_its_first_words_until_it_gets_a_title",
        "::test_pinned_archives_are_listed_alone",
        "journal/test_archive_changes::test_a_deleted_archive_is_gone",
    ),
    row(
        "an archive can be restored, and what was current is archived first",
        "chat/test_restoring::test_the_conversation_goes_on_where_it_stopped",
        "::test_what_was_current_is_archived_first_and_told",
    ),
    row(
        "a restore, a title, a pin and a deletion are whole or not at all, whatever is unplugged",
        "process/test_crash_points::test_kill_9_at_every_named_point_loses_and_doubles_nothing",
        "journal/test_restoring::test_the_process_ends_at_each_call",
        "journal/test_crash_consistency::test_power_loss_loses_and_doubles_nothing",
    ),
    row(
        "users delete only what is theirs, and the operator can turn it off",
        "chat/test_archive_desk::test_anothers_archive_is_404",
        "::test_the_operator_can_keep_users_from_deleting",
    ),
    row(
        "an import is all or nothing, and twice adds nothing",
        "chat/test_importing::test_a_corrupt_archive_is_named_and_adds_nothing",
        "journal/test_import_faults::test_a_call_that_fails_adds_nothing",
    ),
    row(
        "who finds the dialog archived can undo that in one step",
        "chat/test_restoring::test_who_finds_the_dialog_archived_undoes_that_in_one_step",
    ),
    row(
        "archives go by age and by count where that is set, pinned ones stay, a dry run comes first",
        "chat/test_retention::test_old_archives_go_and_pinned_ones_stay",
        "::test_the_newest_so_many_stay_pinned_ones_beside_them",
        "::test_a_dry_run_only_tells",
    ),
    row(
        "archives can be imported",
        "chat/test_importing::test_an_export_imported_elsewhere_is_exported_alike",
    ),
)

SESSIONS = (
    row(
        "a user has at most one session",
        "chat/test_sessions::test_a_connection_starts_a_session_and_further_ones_share_it",
        "process/test_presence::test_closing_one_of_two_tabs_ends_nothing_and_the_last_ends_once",
    ),
    row(
        "it starts with the first connection, or with the first call without one",
        "process/test_presence::test_the_connected_event_tells_where_the_client_stands",
        "::test_a_call_without_any_connection_is_archived_by_the_fallback",
    ),
    row(
        "its id is made of the time and nine characters",
        "chat/test_sessions::test_a_conversation_id_has_the_contracts_form",
    ),
    row(
        "any chat call is activity; heartbeats and acks are not",
        "contract/test_sessions::test_calls_are_activity_and_heartbeats_and_acks_are_not",
    ),
    row(
        "it ends by the grace after the last connection",
        "chat/test_session_life::test_a_user_arrives_talks_and_leaves_and_the_dialog_is_archived",
        "process/test_presence::test_a_drop_a_return_and_a_second_drop_within_the_grace_end_once",
    ),
    row(
        "it ends by the fallback",
        "chat/test_session_life::test_a_call_without_any_connection_is_archived_by_the_fallback",
        "::test_a_connected_idle_user_is_ended_only_under_scope_idle",
    ),
    row(
        "it ends by the user's request",
        "chat/test_archiving::test_end_session_archives_now_and_tells_open_connections",
    ),
    row("it ends by shutdown", "process/test_shutdown::test_sigterm_and_sigint_end_every_session_and_exit_0"),
    row(
        "the reply in flight is finished first, within its time",
        "chat/test_session_life::test_the_reply_in_flight_is_finished_before_its_session_is_archived",
        "chat/test_archiving::test_shutdown_finishes_the_reply_in_flight_and_refuses_what_waits",
    ),
    row(
        "or it is kept as far as it got, and marked",
        "chat/test_archiving::test_shutdown_keeps_a_reply_that_takes_too_long_as_far_as_it_got",
        "chat/test_turns::test_stop_keeps_the_reply_so_far",
    ),
    row(
        "a call in the grace belongs to the conversation; the fallback then governs",
        "process/test_presence::test_a_call_in_the_grace_goes_on_and_the_fallback_ends_it",
    ),
    row(
        "a question is on disk before the model is asked",
        "chat/test_turns::test_the_question_is_on_disk_before_the_model_is_asked",
    ),
    row(
        "one user's messages never interleave",
        "process/test_parallel_and_idempotency"
        "::test_fifty_messages_at_once_are_all_kept_each_reply_behind_its_question",
    ),
    row(
        "a signal: new work is refused, subscribers are told, sessions end, the exit is within the limit",
        "process/test_shutdown::test_sigterm_with_500_sessions_and_replies_in_flight_loses_nothing",
        "::test_a_draining_server_refuses_new_work_and_says_so",
        "process/test_misbehaving_modules::test_a_module_that_fails_to_stop_keeps_no_dialog_from_its_archive",
    ),
    row(
        "a second signal exits at once",
        "process/test_shutdown::test_a_second_signal_exits_at_once_and_the_next_start_recovers",
    ),
    row(
        "on a shared engine a node that stops hands its users over",
        "cluster/test_failures::test_a_rolling_restart_fails_no_call_and_ends_no_session",
        "::test_sigterm_to_all_nodes_archives_every_session_once_as_shutdown",
    ),
    row(
        "dialogs left open are adopted for the grace, three reconnection times at the least",
        "process/test_shutdown::test_after_a_crash_who_returns_in_time_goes_on_and_who_does_not_is_recovered",
        "::test_the_grace_after_a_start_is_long_enough_for_clients_to_return",
    ),
    row(
        "at once where the grace is 0",
        "chat/test_session_life::test_without_a_grace_what_was_left_open_is_archived_at_once",
    ),
    row(
        "who comes back or calls goes on, the rest is archived as recovered",
        "chat/test_session_life::test_who_comes_back_after_a_crash_goes_on_with_the_conversation",
        "::test_a_call_during_adoption_leaves_the_session_to_the_fallback",
        "::test_what_nobody_went_on_with_is_archived_as_recovered",
    ),
    row(
        "a dialog with its footer keeps its own reason; a torn footer is cut",
        "process/test_torn_files::test_a_dialog_cut_at_any_byte_keeps_every_whole_message",
    ),
)

FILES = (
    row(
        "each user has a folder, a current file of zero bytes after archiving, and archives",
        "process/test_walkthrough::test_the_walk_through_with_the_default_configuration",
        "journal/test_files::test_every_file_stays_in_its_users_folder",
    ),
    row(
        "an archive is named for the time it ended, in UTC, with a number where that is taken",
        "journal/test_files::test_an_archive_is_named_for_its_end",
        "journal/test_contract::test_ends_in_one_second_get_suffixes",
        "journal/test_files::test_a_name_that_is_taken_is_never_overwritten",
    ),
    row(
        "a mark tells of each open dialog, and recovery looks at marks alone",
        "contract/test_files::test_a_dialog_is_marked_as_long_as_it_is_open",
        "journal/test_recovery::test_start_reads_the_markers_alone",
    ),
    row(
        "a folder's name is the id where safe, else percent-encoded",
        "core/test_users_and_events::test_a_users_folder_is_the_id_where_safe_else_percent_encoded",
        "process/test_users::test_any_id_of_a_configured_token_stays_in_a_folder_of_its_own",
        "::test_any_id_of_a_signed_token_stays_in_a_folder_of_its_own",
    ),
    row(
        "ids that differ in case share no folder",
        "core/test_users_and_events::test_two_ids_never_share_a_folder_even_where_case_is_ignored",
    ),
    row(
        "an id whose name exceeds 200 bytes is refused",
        "core/test_users_and_events::test_an_id_that_can_have_no_folder_is_refused",
        "cli/test_refused_starts::test_a_wrong_value_stops_the_start_with_one_line",
    ),
    row(
        "an archive's id is its file's name; the newest first, by end, then by number",
        "journal/test_contract::test_archives_come_by_page",
        "chat/test_wire::test_pages_of_archives_go_on_where_the_last_one_ended",
    ),
    row(
        "a file is one mapping, written by appending; an archive is a footer and a rename",
        "journal/test_format::test_the_contract_to_the_letter",
        "contract/test_files::test_a_file_grows_by_appending_alone",
        "journal/test_faults::test_the_disk_is_asked_in_the_right_order",
    ),
    row(
        "text is quoted, or a literal block where every reader agrees",
        "journal/test_format::test_any_text_loads_equal_everywhere",
        "::test_several_lines_stay_readable",
        "::test_known_traps_load_equal_in_python",
        "::test_known_traps_load_equal_in_node",
    ),
    row(
        "the timestamp is a message's last key, so what is torn is recognised",
        "journal/test_format::test_the_contract_to_the_letter",
        "journal/test_recovery::test_cut_at_every_byte_of_the_last_messages",
    ),
    row("timestamps never go back", "journal/test_contract::test_timestamps_never_go_back"),
    row(
        "a dialog ends for one of six reasons",
        "contract/test_files::test_there_are_six_reasons",
        "chat/test_archiving::test_another_conversation_that_has_to_begin_supersedes",
        "docs/test_docs::test_every_cause_and_reason_is_explained",
    ),
    row(
        "what can't be used is set aside under another kind of name, told, and never overwritten",
        "process/test_torn_files::test_a_file_that_is_no_dialog_is_set_aside_and_reported_never_overwritten",
        "::test_a_dialog_cut_before_its_first_whole_message_is_set_aside",
        "journal/test_recovery::test_set_aside_overwrites_nothing",
    ),
    row(
        "a session without a message leaves no file",
        "process/test_presence::test_a_session_without_a_message_leaves_no_file",
    ),
    row(
        "folders and files are the owner's alone",
        "journal/test_files::test_folders_and_files_are_the_owners_alone",
    ),
)

ALL = STREAM + WHO + CALLS + ERRORS + PAGES + WIRE + SESSIONS + FILES


@cache
def defined_in(file: str) -> dict[str, str]:
    """The tests that a file defines, each with its docstring."""
    tree = ast.parse((ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8"))
    return {
        node.name: ast.get_docstring(node) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.promise)
def test_each_sentence_of_the_contract_has_a_test(one: Row) -> None:
    """A row names tests that exist and say what they check."""
    assert one.promise.strip()
    assert one.checks
    for check in one.checks:
        file, _, name = check.partition("::")
        assert defined_in(file).get(name), f"there is no test {check}, or it has no docstring"


def test_no_sentence_is_there_twice() -> None:
    """Nor is a test named twice in one row."""
    promises = [each.promise for each in ALL]
    assert len(set(promises)) == len(promises)
    assert [each.promise for each in ALL if len(set(each.checks)) != len(each.checks)] == []
