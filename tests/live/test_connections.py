"""The counts of open connections and the limits held against them."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from app.live.connections import ConnectionCounts, ConnectionLimits, Full

LIMITS = ConnectionLimits(process=4, workspace=3, key=2)


@pytest.mark.parametrize(
    ("open_now", "workspace_id", "key_id", "full"),
    [
        ([], "ws_1", "key_1", None),
        ([("ws_1", "key_1")], "ws_1", "key_1", None),
        ([("ws_1", "key_1")] * 2, "ws_1", "key_1", ("key", 2)),
        ([("ws_1", "key_1")] * 2, "ws_1", "key_2", None),
        ([("ws_1", "key_1")] * 2 + [("ws_1", "key_2")], "ws_1", "key_3", ("workspace", 3)),
        ([("ws_1", "key_1")] * 2 + [("ws_1", "key_2")], "ws_1", "key_1", ("workspace", 3)),  # both: the wider one
        ([("ws_1", "key_1")] * 2 + [("ws_1", "key_2")], "ws_2", "key_3", None),
        ([("ws_1", "key_1")] * 2 + [("ws_2", "key_2")] * 2, "ws_3", "key_3", ("process", 4)),
        ([("ws_1", "key_1")] * 2 + [("ws_2", "key_2")] * 2, "ws_1", "key_1", ("process", 4)),
        ([("ws_1", "platform"), ("ws_2", "platform")], "ws_3", "platform", ("key", 2)),  # in several workspaces
    ],
)
def test_one_more_connection_needs_room_in_process_workspace_and_key(
    open_now: list[tuple[str, str]], workspace_id: str, key_id: str, full: tuple[str, int] | None
) -> None:
    counts = ConnectionCounts()
    for connection in open_now:
        counts.add(*connection)
    if full is None:
        counts.check(workspace_id, key_id, LIMITS)
    else:
        with pytest.raises(Full) as caught:
            counts.check(workspace_id, key_id, LIMITS)
        assert (caught.value.whose, caught.value.most) == full


def test_the_counts_are_those_of_the_open_connections_and_nothing_is_kept_of_others() -> None:
    chance = random.Random(1)
    counts, connections = ConnectionCounts(), []
    for _ in range(500):
        if connections and chance.random() < 0.5:
            counts.remove(*connections.pop(chance.randrange(len(connections))))
        else:
            connections.append((f"ws_{chance.randint(1, 3)}", f"key_{chance.randint(1, 9)}"))
            counts.add(*connections[-1])
        assert counts.process == len(connections)
        assert counts.by_workspace == Counter(workspace_id for workspace_id, _ in connections)
        assert counts.by_key == Counter(key_id for _, key_id in connections)
    for connection in connections:
        counts.remove(*connection)
    assert counts == ConnectionCounts()
    assert not counts.by_key


def test_asking_leaves_no_trace() -> None:
    counts = ConnectionCounts()
    counts.check("ws_1", "key_1", LIMITS)
    assert counts == ConnectionCounts()
    assert not counts.by_workspace
