"""Chromium's own WebSocket on a call: events in, key presses out, and an end that says so."""

from __future__ import annotations

import json

from tests.browser.chromium import Chromium
from tests.browser.native import WebSocket
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer


@clause("voicebip-3", "voicebip-16", "voicebip-17", "voicebip-19", "voicebip-32")
def test_a_call_is_watched_and_steered_until_it_ends(chromium: Chromium, producer: Producer) -> None:
    call = producer.stream("call", transport="sip")
    page = chromium.page(f"{producer.base_url}/live/call/{call}")
    path = f"/v1/calls/{call}/events?token={producer.key}"
    ours = WebSocket(page, path)
    ours.wait_state("open")
    barge_in = producer.post("call", call, "call.barge_in", {"at_ms": 1200})
    ours.say({"type": "dtmf", "data": {"digits": "5#"}})
    first, control = (json.loads(text) for text in ours.wait_seen(2))
    assert (first["id"], first["type"], first["data"]) == (barge_in["id"], "call.barge_in", {"at_ms": 1200})
    kept = producer.ask("GET", f"/v1/events?stream_kind=call&stream_id={call}&type=call.control")["data"]
    assert [event["id"] for event in kept] == [control["id"]]
    assert control["data"] == {"type": "dtmf", "data": {"digits": "5#"}}
    producer.post("call", call, "call.ended", {"reason": "hangup"})
    ours.wait_state("closed 1000 true")
    assert json.loads(ours.wait_seen(3)[-1])["type"] == "call.ended"
    assert [one.status for one in page.asked(f"/v1/calls/{call}/events")] == [101]
    assert producer.key not in producer.server.web.log_text()


@clause("voicebip-16")
def test_there_is_no_connection_without_a_good_key(chromium: Chromium, producer: Producer) -> None:
    page = chromium.page(f"{producer.base_url}/live/call/any")
    ours = WebSocket(page, f"/v1/calls/{producer.stream('call')}/events?token=pk_nonsense")
    ours.wait_state("closed 1006 false")
    assert ours.states == ["closed 1006 false"]
