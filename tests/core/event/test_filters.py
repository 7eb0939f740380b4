"""An endpoint gets the events that its filters name, and no other."""

from __future__ import annotations

import pytest

from app.core.event.filters import like_patterns, matches

CASES = [
    (None, None, True),
    (["call.barge_in"], None, True),
    (["call.barge_i"], None, False),
    (["call.barge_in.x"], None, False),
    (["call.*"], None, True),
    (["ca.*"], None, False),
    (["call"], None, False),
    (["call*"], None, False),
    (["*"], None, True),
    (["bot.*", "call.*"], None, True),
    ([], None, False),
    (None, ["call"], True),
    (None, ["bot"], False),
    (None, ["bot", "call"], True),
    (None, [], False),
    (["call.*"], ["bot"], False),
]


@pytest.mark.parametrize(("event_types", "stream_kinds", "wanted"), CASES)
def test_an_event_passes_only_when_both_filters_name_it(event_types, stream_kinds, wanted):
    assert matches(event_types, stream_kinds, type="call.barge_in", kind="call") is wanted


def test_a_prefix_reaches_every_depth_but_not_the_bare_name():
    assert matches(["call.*"], None, type="call.turn.end", kind="call")
    assert not matches(["call.*"], None, type="call", kind="call")


def test_patterns_for_sql_escape_what_like_would_read():
    assert like_patterns(["call.*", "a_b%c\\d", "*"]) == ["call.%", "a\\_b\\%c\\\\d", "%"]
    assert like_patterns(None) is None
