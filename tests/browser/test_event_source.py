"""Chromium's own EventSource: a stream's whole life, and then silence."""

from __future__ import annotations

import json

import pytest

from tests.browser.chromium import Chromium, Page
from tests.browser.native import QUIET_SECONDS, EventSource, cut
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer


def open_page(chromium: Chromium, producer: Producer) -> Page:
    """Any page that the product serves, so that scripts in it are of its origin."""
    return chromium.page(f"{producer.base_url}/live/any/stream")


def numbers(source: EventSource) -> list[int]:
    return [json.loads(data)["n"] for _, _, data in source.seen]


def check_that_it_stays_away(page: Page, source: EventSource, seen_before_the_cut: int) -> None:
    """It came back behind what it had seen, was told to stop by a 204, and asks for nothing more."""
    source.wait_state("closed")
    before = len(source.asked)
    page.pump(QUIET_SECONDS)
    assert len(source.asked) == before
    # A busy old process may have taken it once more and sent it on; hence not always three times.
    *opened, last = [one.status for one in source.asked]
    assert last == 204
    assert opened in ([200] * 2, [200] * 3, [200] * 4)
    cursors = [one.headers.get("last-event-id") for one in source.asked]
    assert (cursors[:2], cursors[-1]) == ([None, str(seen_before_the_cut)], source.seen[-1][1])


@clause("serveka-2", "serveka-8", "serveka-9", "serveka-17", "serveka-26")
def test_a_bots_viewer_is_cut_comes_back_by_itself_and_stays_away_after_the_end(
    chromium: Chromium, restarting: Producer
) -> None:
    page = open_page(chromium, restarting)
    bot = restarting.stream("bot")
    path, token = restarting.mint(bot)
    names = ("transcript_segment", "participant_update", "bot_status", "recording_ready")
    source = EventSource(page, f"{path}?token={token}", *names)
    source.wait_state("open")
    segment = {"speaker": "Alice", "text": "", "timestamp": "2026-05-04T10:00:05Z", "is_final": True}
    for n in range(3):
        restarting.post("bot", bot, "transcript_segment", {**segment, "n": n})
    source.wait_seen(3)
    cut(restarting)
    source.wait_state("connecting")
    restarting.post("bot", bot, "participant_update", {"participants": ["Alice"], "n": 3})
    source.wait_seen(4)
    restarting.post("bot", bot, "transcript_segment", {**segment, "n": 4})
    restarting.post("bot", bot, "bot_status", {"status": "completed", "timestamp": "2026-05-04T11:00:00Z", "n": 5})
    source.wait_seen(6)
    restarting.post("bot", bot, "recording_ready", {"recording_url": "https://recordings.example.com/r_1.mp4", "n": 6})
    source.wait_seen(7)
    check_that_it_stays_away(page, source, 3)
    assert numbers(source) == [0, 1, 2, 3, 4, 5, 6]
    assert [name for name, _, _ in source.seen] == [
        "transcript_segment", "transcript_segment", "transcript_segment", "participant_update", "transcript_segment",
        "bot_status", "recording_ready",
    ]  # fmt: skip
    assert [id for _, id, _ in source.seen] == ["1", "2", "3", "4", "5", "6", "7"]


def test_a_canonical_stream_is_read_without_a_hole_over_a_cut_and_not_asked_for_after_its_end(
    chromium: Chromium, restarting: Producer
) -> None:
    page = open_page(chromium, restarting)
    call = restarting.stream("call")
    restarting.post_many("call", call, "call.transcript", [{"n": n} for n in range(5)])
    token = restarting.ask("POST", f"/v1/streams/call/{call}/tokens")["token"]
    source = EventSource(page, f"/v1/streams/call/{call}/live?after_seq=0&token={token}", "call.transcript")
    source.wait_seen(5)
    cut(restarting)
    source.wait_state("connecting")
    restarting.post_many("call", call, "call.transcript", [{"n": n} for n in range(5, 300)])
    source.wait_seen(300)
    restarting.end("call", call)
    # The URL still says after_seq=0: the header goes before it.
    check_that_it_stays_away(page, source, 5)
    assert [json.loads(data)["data"]["n"] for _, _, data in source.seen] == list(range(300))


@clause("serveka-24")
def test_a_refusal_is_an_error_and_nothing_is_asked_again(chromium: Chromium, producer: Producer) -> None:
    page = open_page(chromium, producer)
    path, _ = producer.mint(producer.stream("bot"))
    source = EventSource(page, f"{path}?token=nonsense", "bot_status")
    source.wait_state("closed")
    page.pump(QUIET_SECONDS)
    assert source.states == ["closed"]
    assert [one.status for one in source.asked] == [401]


@clause("voicebip-3", "voicebip-5", "voicebip-8")
def test_a_transcript_is_opened_with_the_key_in_the_query_and_nobody_hears_of_it(
    chromium: Chromium, producer: Producer
) -> None:
    page = open_page(chromium, producer)
    call = producer.stream("call")
    source = EventSource(page, f"/v1/calls/{call}/transcript?token={producer.key}", "message")
    source.wait_state("open")
    producer.post("call", call, "call.transcript", {"role": "user", "text": "Hello", "turn": 1})
    source.wait_seen(1)
    assert json.loads(source.seen[0][2])["event_type"] == "call.transcript"
    producer.post("call", call, "call.ended", {"reason": "hangup"})
    source.wait_state("closed")  # it comes back by itself, and there is no such call any more
    assert [one.status for one in source.asked] == [200, 404]
    assert {one.headers.get("referer", "") for one in source.asked} == {""}
    assert producer.key not in producer.server.web.log_text()


@clause("atoms-9", "atoms-12")
def test_a_signed_in_persons_browser_opens_a_call_by_its_cookie(chromium: Chromium, producer: Producer) -> None:
    page = open_page(chromium, producer)
    sign_in = "fetch('/v1/session', {method: 'POST', headers: {Authorization: 'Bearer %s'}}).then((r) => r.status)"
    assert page.run(sign_in % producer.key) == 204
    call = producer.stream("call")
    source = EventSource(page, f"/atoms/v1/events?callId={call}", "message")
    source.wait_seen(1)
    producer.post("call", call, "user_transcription", {"user_transcription_text": "Hello"})
    producer.post("call", call, "call_end", {})
    source.wait_state("closed")
    seen = [json.loads(data)["event_type"] for _, _, data in source.seen]
    assert seen == ["sse_init", "user_transcription", "call_end", "sse_close"]
    assert [one.status for one in source.asked] == [200, 400]


READ_SESSION = """
import("/static/transports.js").then(({ TRANSPORTS }) => {
  const stream = { live: new URL(%s, location.href), token: %s, after: 0 };
  window.read = { seen: [], over: "" };
  TRANSPORTS.fetch(stream, {
    state: () => {},
    event: (data, id) => {
      stream.after = Number(id);
      read.seen.push([stream.after, JSON.parse(data).status ?? JSON.parse(data).reason]);
    },
    over: (name) => (read.over = name),
  });
})
"""


@clause("aitronos-6", "aitronos-11", "aitronos-19", "aitronos-22")
def test_a_session_takes_no_token_in_a_url_and_is_read_by_fetch(chromium: Chromium, restarting: Producer) -> None:
    page = open_page(chromium, restarting)
    session = restarting.stream("session")
    path = f"/v1/meeting-buddy/sessions/{session}/stream"
    source = EventSource(page, f"{path}?token={restarting.key}", "status")
    source.wait_state("closed")
    assert [one.status for one in source.asked] == [401]

    def status(now: str, before: str | None) -> dict[str, object]:
        return {
            "session_id": session, "status": now, "previous_status": before, "timestamp": "2025-12-11T10:00:05Z",
            "error_message": None, "error_code": None,
        }  # fmt: skip

    restarting.post("session", session, "status", status("joining", None))
    page.run(READ_SESSION % (json.dumps(path), json.dumps(restarting.key)))
    page.wait_for("read.seen.length >= 1")
    cut(restarting)
    restarting.post("session", session, "status", status("active", "joining"))
    page.wait_for("read.seen.length >= 2")
    restarting.post("session", session, "status", status("completed", "active"))
    page.wait_for("read.over")
    assert page.run("read.over") == "ended"
    assert page.run("read.seen.map(([, what]) => what)") == ["joining", "active", "completed", "session_ended"]
    assert source.asked[-1].status == 204


@pytest.mark.parametrize("where", ["live", "ws"])
def test_a_page_of_the_product_can_ask_nobody_else(chromium: Chromium, producer: Producer, where: str) -> None:
    page = open_page(chromium, producer)
    foreign = producer.base_url.replace("127.0.0.1", "localhost") + "/v1/streams/call/c/live"
    if where == "live":
        EventSource(page, foreign).wait_state("closed")
    else:
        page.run(f"void new WebSocket({json.dumps(foreign.replace('http', 'ws'))})")
    page.wait(lambda: any("Content Security Policy" in problem for problem in page.problems), about="a refusal")
