"""The tests that take longest begin first, some on each runner, so that in the end no runner is waited for.

pytest-xdist cuts the list of tests into one block for each runner (`--dist worksteal`), and whoever has done its block
takes from the end of another's: what begins a block is begun at once, and short tests are left for the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import TypeVar

import pytest

# Five seconds or more on two quiet cores beside three other runners, the longest first. A test's parameters go with it.
LONGEST = (
    "tests/local/test_run.py::test_each_run_goes_on_where_the_one_before_was_ended_by_ctrl_c_or_killed",
    "tests/contracts/test_real_time.py::test_silence_is_kept_alive_at_the_contracts_own_pace",
    "tests/acceptance/test_slow_subscriber.py::test_a_subscriber_that_stops_reading_harms_nobody_and_misses_nothing",
    "tests/hostile/test_described.py::test_every_answer_is_described_and_no_fitting_request_is_refused",
    "tests/workers/test_worker_process.py::test_while_redis_is_away_deliveries_go_on_and_the_standby_goes_when_it_is_back",
    "tests/workers/test_worker_process.py::test_when_every_pool_process_is_frozen_a_standby_delivers_and_goes_when_they_are_back",
    "tests/acceptance/test_redis_outages.py::test_nothing_is_missing_whatever_redis_does",
    "tests/hostile/test_lives.py::test_the_books_are_in_order_after_any_life",
    "tests/acceptance/test_listen_forward.py::test_nothing_is_missing_and_nothing_comes_twice",
    "tests/chaos/test_runs.py::test_an_interrupted_run_leaves_no_process_no_mount_and_no_files",
    "tests/delivery/test_lanes_through_kills.py::test_a_receiver_sees_each_stream_in_order_through_kills_and_a_frozen_process",
    "tests/local/test_run.py::test_a_run_ends_when_what_started_it_is_killed",
    "tests/web/live/test_restart.py::test_a_process_that_ends_cuts_its_streams_without_the_last_chunk",
    "tests/zoo/test_sender.py::test_no_receiver_gets_more_of_the_sender_than_it_should",
    "tests/web/metrics/test_metrics.py::test_the_folder_of_metrics_goes_with_its_server_or_with_the_next_start",
    "tests/workers/test_worker_process.py::test_a_standby_outlives_neither_its_worker_nor_its_own_death",
    "tests/workers/test_worker_process.py::test_a_worker_that_starts_without_redis_delivers_and_ends_what_is_in_flight",
    "tests/ledger/test_silence.py::test_all_producers_are_answered_while_the_database_is_silent",
    "tests/local/test_run.py::test_engines_of_ones_own_are_used_instead",
    "tests/acceptance/test_cuts.py::test_a_viewer_that_is_cut_two_hundred_times_misses_nothing",
    "tests/hostile/test_floods.py::test_all_floods_at_once_end_as_they_should_and_hold_nobody_up",
    "tests/test_log_lines.py::test_every_line_of_web_and_worker_is_an_object_and_errors_are_found",
    "tests/test_tracing.py::test_a_collector_gets_the_whole_way_of_an_event",
    "tests/workers/test_worker_process.py::test_a_cold_shutdown_ends_too",
    "tests/workers/test_worker_process.py::test_sigterm_lets_what_is_in_flight_end_and_claims_no_more",
    "tests/web/http/test_bodies.py::test_bodies_that_do_not_come_end_by_themselves_and_hold_up_nobody",
    "tests/web/live/test_restart.py::test_a_stream_over_a_kept_connection_is_not_opened_by_a_process_that_ends",
    "tests/web/live/test_credentials.py::test_a_credential_that_is_over_closes_its_streams_and_no_others",
    "tests/workers/test_worker_process.py::test_a_killed_process_costs_its_deliveries_a_lease_and_nothing_else",
    "tests/database/test_silence.py::test_a_read_from_a_silent_server_fails_within_seconds",
    "tests/database/test_silence.py::test_a_key_is_looked_up_in_bounded_time",
    "tests/contracts/test_websocket_ends.py::test_a_restart_closes_with_1012_and_the_server_ends_well",
    "tests/web/live/test_speed.py::test_an_ended_stream_is_played_as_many_times_faster",
)
T = TypeVar("T")


@pytest.hookimpl(trylast=True)  # after those that are not to run have been taken out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    runners = getattr(config, "workerinput", {}).get("workercount", 1)
    if runners > 1:
        place = {name: number for number, name in enumerate(LONGEST)}
        names = {item: item.nodeid.partition("[")[0] for item in items}
        first = sorted((item for item in items if names[item] in place), key=lambda item: place[names[item]])
        items[:] = dealt(first, [item for item in items if names[item] not in place], runners)


def dealt(first: Sequence[T], rest: Sequence[T], runners: int) -> list[T]:
    """One list, which cut into blocks begins each block with its share of `first`."""
    ordered: list[T] = []
    left = iter(rest)
    for runner in range(runners):
        block = (len(first) + len(rest) - len(ordered)) // (runners - runner)
        own = first[runner::runners]
        ordered += [*own, *islice(left, max(0, block - len(own)))]
    return ordered + list(left)
