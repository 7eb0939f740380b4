"""What is remembered of endpoints: of the workspaces that accepted last."""

from __future__ import annotations

import json

import pytest

from app.ledger import matching
from app.ledger.matching import UNKNOWN_VERSION, RememberedEndpoints


def test_a_workspace_that_is_used_is_not_forgotten_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "MOST_WORKSPACES", 2)
    remembered = RememberedEndpoints()
    for workspace_id in ("ws_hot", "ws_1", "ws_2", "ws_3"):
        remembered.learn(json.dumps([[workspace_id, 7, None]]))
        assert remembered.of("ws_hot").version == 7
    assert remembered.of("ws_1").version == remembered.of("ws_2").version == UNKNOWN_VERSION
