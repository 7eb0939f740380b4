"""For how long a route shows a stream that has ended: as its contract says, or until a late event has come."""

from __future__ import annotations

from typing import cast

import pytest

from app.contracts import load
from app.ledger.streams import StreamRow
from app.web.engine import Engine
from app.web.live.credentials import Opener
from app.web.live.errors import ContractRefusal
from app.web.live.opening import Admitted, refuse_ended

RULES = load.load(None)
TRANSCRIPT = next(
    route for contract in RULES.contracts if contract.name == "voicebip" for route in contract.routes
)  # refuses streams that have ended


@pytest.mark.parametrize(
    ("ended", "ended_seconds", "late_came", "linger_seconds", "over"),
    [
        (False, 0.0, False, 0, False),
        (False, 0.0, True, 60, False),
        (True, 0.0, False, 0, True),
        (True, 0.0, False, 60, False),
        (True, 59.9, False, 60, False),
        (True, 60.0, False, 60, True),
        (True, 0.0, True, 60, True),
    ],
)
def test_a_route_that_refuses_ended_streams_refuses_those_that_are_over(
    ended: bool, ended_seconds: float, late_came: bool, linger_seconds: int, over: bool
) -> None:
    stream = StreamRow(1, "ws_1", "call", "c1", 3, ended, {}, late_came, ended_seconds)
    admitted = Admitted(cast(Engine, None), TRANSCRIPT, Opener("key_1", "ws_1"), stream, linger_seconds)
    assert admitted.over == over
    if over:
        with pytest.raises(ContractRefusal):
            refuse_ended(admitted)
    else:
        refuse_ended(admitted)


def test_a_contract_waits_as_it_says_and_one_without_kinds_as_long_as_the_longest() -> None:
    by_name = {contract.name: contract for contract in RULES.contracts}
    assert RULES.linger_seconds(by_name["serveka"], "bot") == 60
    assert RULES.linger_seconds(by_name["canonical"], "bot") == 60
    assert RULES.linger_seconds(by_name["canonical"], "call") == RULES.linger_seconds(by_name["atoms"], "call") == 0
    assert RULES.late("bot", "recording_ready")
    assert not RULES.late("bot", "bot_status")
    assert not RULES.late("call", "recording_ready")
