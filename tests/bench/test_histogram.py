"""Latencies in buckets: the same in Python as in the load programs."""

from __future__ import annotations

import pytest

from bench import histogram


@pytest.mark.parametrize(
    ("microseconds", "bucket"), [(0, 0), (127, 127), (128, 128), (129, 128), (130, 129), (255, 191), (256, 192)]
)
def test_a_latency_has_the_bucket_of_wire_h(microseconds: int, bucket: int) -> None:
    assert histogram.bucket_of(microseconds) == bucket


@pytest.mark.parametrize("microseconds", [0, 1, 127, 128, 1000, 12_345, 999_999, 60_000_000])
def test_a_bucket_s_middle_is_within_one_and_a_half_percent(microseconds: int) -> None:
    middle = histogram.middle_of(histogram.bucket_of(microseconds))
    assert abs(middle - microseconds) <= 0.016 * microseconds + 0.5


def test_percentiles_count_latencies_not_buckets() -> None:
    pairs = [[10, 98], [100, 1], [127, 1]]
    assert histogram.percentiles(pairs, "post") == {"post_p50": 0.01, "post_p95": 0.01, "post_p99": 0.1}


def test_nothing_has_no_percentiles() -> None:
    assert histogram.percentiles([], "post") == {}


def test_histograms_are_added_up() -> None:
    assert histogram.merged([[[1, 2], [5, 1]], [[5, 3]]]) == [[1, 2], [5, 4]]
    assert histogram.size([[1, 2], [5, 4]]) == 6
