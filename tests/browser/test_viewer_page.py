"""The live page, as a person sees and uses it, by each of its three transports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.browser.chromium import Chromium, Page
from tests.browser.conftest import SHORT_LIFE_SECONDS
from tests.browser.native import QUIET_SECONDS, cut
from tests.contracts.conformance import clause
from tests.contracts.producer import Producer
from tests.web.live.watching import subscribers

TRANSPORTS = pytest.mark.parametrize("transport", ["fetch", "eventsource", "websocket"])
NASTY = "<img src=x onerror=\"document.title='broken into'\"><script>document.title='broken into'</script>"


def mint(producer: Producer, kind: str, id: str) -> str:
    token: str = producer.ask("POST", f"/v1/streams/{kind}/{id}/tokens")["token"]
    return token


def open_page(chromium: Chromium, producer: Producer, kind: str, id: str, rest: str = "", **looks: int) -> Page:
    return chromium.page(f"{producer.base_url}/live/{kind}/{id}{rest}", **looks)


def state(page: Page, wanted: str, seconds: float = 15.0) -> None:
    page.wait(lambda: page.text("#state") == wanted, seconds, about=wanted)


def seqs(page: Page) -> list[int]:
    """The numbers of the rows, from above."""
    found: list[int] = page.run(
        "[...document.querySelectorAll('#events .seq')].map((it) => Number(it.innerText.slice(1)))"
    )
    return found


def say(producer: Producer, call: str, *texts: str) -> None:
    producer.post_many("call", call, "call.transcript", [{"role": "user", "text": text} for text in texts])


@TRANSPORTS
def test_a_person_pastes_a_token_sees_what_happens_and_that_it_ends(
    chromium: Chromium, producer: Producer, pictures: Path, transport: str
) -> None:
    call = producer.stream("call")
    page = open_page(chromium, producer, "call", call, f"?transport={transport}")
    state(page, "Needs a token")
    assert call in page.text("h1")
    page.picture(pictures / f"{transport}-1-needs-a-token.png")
    page.type("#token", mint(producer, "call", call))
    state(page, "Live")
    assert page.text("#empty") == "No events yet. They appear here as they happen."
    assert page.text("#access") == ""
    page.picture(pictures / f"{transport}-2-empty.png")
    payload = f'{{"role":"agent","text":{json.dumps(NASTY)},"gain":1.0,"big":12345678901234567890}}'
    producer.post_raw(f'{{"stream":{{"kind":"call","id":"{call}"}},"type":"call.transcript","data":{payload}}}')
    say(producer, call, "I'd like to change my booking, from the third to the fifth.")
    producer.post("call", call, "call.barge_in", {"at_ms": 1200})
    page.wait(lambda: page.text("#count") == "3", about="three events")
    assert seqs(page) == [1, 2, 3]
    first = page.text("#events li")
    assert "call.transcript" in first
    assert json.dumps(NASTY) in first
    assert "1.0" in first
    assert "12345678901234567890" in first
    assert page.run("document.querySelectorAll('#events img, #events script').length") == 0
    page.picture(pictures / f"{transport}-3-live.png")
    producer.end("call", call)
    state(page, "Ended")
    before = len(page.asked(call))
    page.pump(QUIET_SECONDS)
    assert len(page.asked(call)) == before
    assert page.text("#finish") == "The stream has ended."
    assert page.problems == []
    page.look_like(390, 780, dark=True)
    page.picture(pictures / f"{transport}-4-ended-on-a-phone.png")


@clause("voicebip-32")
def test_whatever_the_transport_a_cut_costs_no_event_and_repeats_none(
    chromium: Chromium, restarting: Producer, pictures: Path
) -> None:
    call = restarting.stream("call")
    say(restarting, call, "before it was opened")
    token = mint(restarting, "call", call)
    pages = [
        open_page(chromium, restarting, "call", call, f"?transport={transport}#token={token}")
        for transport in ("fetch", "eventsource", "websocket")
    ]
    for page in pages:
        state(page, "Live")
    say(restarting, call, *(f"text {n}" for n in range(40)))
    for page in pages:
        page.wait(lambda page=page: len(seqs(page)) == 41, about="events before the cut")
    cut(restarting)
    pages[0].wait(lambda: pages[0].text("#state") == "Reconnecting", about="the cut is told of")
    pages[0].picture(pictures / "cut.png")
    say(restarting, call, *(f"text {n}" for n in range(40, 80)))
    restarting.end("call", call)
    for page in pages:
        state(page, "Ended", 20)
        assert seqs(page) == list(range(1, 82))
        assert page.text("#count") == "81"


def test_a_token_in_the_fragment_is_used_and_seen_nowhere(chromium: Chromium, producer: Producer) -> None:
    call = producer.stream("call")
    token = mint(producer, "call", call)
    page = open_page(chromium, producer, "call", call, f"#token={token}")
    state(page, "Live")
    assert page.run("location.href") == f"{producer.base_url}/live/call/{call}"
    assert token not in page.run("document.documentElement.outerHTML")
    assert all(token not in one.url for one in page.asked(producer.base_url))
    assert token not in producer.server.web.log_text()


def test_a_token_that_expires_ends_the_view_until_a_fresh_one_is_pasted(
    chromium: Chromium, forgetting: Producer, pictures: Path
) -> None:
    call = forgetting.stream("call")
    say(forgetting, call, "one", "two")
    page = open_page(chromium, forgetting, "call", call, f"#token={mint(forgetting, 'call', call)}")
    state(page, "Live")
    state(page, "Not let in", SHORT_LIFE_SECONDS + 15)
    assert "Mint a fresh one and paste it below" in page.text("#notice")
    say(forgetting, call, "three")
    page.picture(pictures / "expired.png")
    page.type("#token", json.dumps(forgetting.ask("POST", f"/v1/streams/call/{call}/tokens")))
    state(page, "Live")
    page.wait(lambda: len(seqs(page)) == 3, about="the third event")
    assert seqs(page) == [1, 2, 3]
    assert page.text("#notice") == ""


@TRANSPORTS
def test_a_token_of_another_stream_is_refused_with_words_that_help(
    chromium: Chromium, producer: Producer, pictures: Path, transport: str
) -> None:
    call, other = producer.stream("call"), producer.stream("call")
    page = open_page(chromium, producer, "call", call, f"?transport={transport}#token={mint(producer, 'call', other)}")
    state(page, "Not let in")
    assert "opens another stream" in page.text("#notice")
    assert page.text("#access") != ""
    page.look_like(390, 780, dark=transport == "websocket")
    page.picture(pictures / f"{transport}-refused.png")
    before = len(page.asked(call))
    page.pump(QUIET_SECONDS if transport == "fetch" else 3.0)
    assert len(page.asked(call)) == before


@TRANSPORTS
def test_stop_closes_the_connection_and_go_on_misses_nothing(
    chromium: Chromium, producer: Producer, transport: str
) -> None:
    call = producer.stream("call")
    say(producer, call, "one")
    page = open_page(chromium, producer, "call", call, f"?transport={transport}#token={mint(producer, 'call', call)}")
    page.wait(lambda: seqs(page) == [1], about="the first event")
    open_before = page.wait(lambda: subscribers(producer.server), about="the connection is counted")
    page.click("#toggle")
    state(page, "Stopped")
    page.wait(lambda: subscribers(producer.server) == open_before - 1, about="the server has one connection less")
    say(producer, call, "two", "three")
    page.click("#toggle")
    page.wait(lambda: len(seqs(page)) == 3, about="what came meanwhile")
    assert seqs(page) == [1, 2, 3]


def test_an_ended_stream_is_shown_whole_and_an_empty_one_says_that_it_is(
    chromium: Chromium, producer: Producer
) -> None:
    full, empty = producer.stream("call"), producer.stream("call")
    say(producer, full, "one", "two")
    for call in (full, empty):
        producer.end("call", call)
    page = open_page(chromium, producer, "call", full, f"#token={mint(producer, 'call', full)}")
    state(page, "Ended")
    assert seqs(page) == [1, 2]
    page = open_page(chromium, producer, "call", empty, f"#token={mint(producer, 'call', empty)}")
    state(page, "Ended")
    assert page.text("#empty") == "This stream has ended. It has no events."


def test_types_that_an_event_source_cannot_hear_are_said_to_be_missing_and_fetch_shows_them(
    chromium: Chromium, producer: Producer
) -> None:
    call = producer.stream("call")
    producer.post_many("call", call, "own.type", [{"n": n} for n in range(4)])
    say(producer, call, "heard")
    token = mint(producer, "call", call)
    page = open_page(chromium, producer, "call", call, f"?transport=eventsource#token={token}")
    page.wait(lambda: seqs(page) == [5], about="the one type that is declared")
    assert page.text("#left-out") == "4 of types that this transport does not hear are missing."
    page = open_page(chromium, producer, "call", call, f"#token={token}")
    page.wait(lambda: seqs(page) == [1, 2, 3, 4, 5], about="all")
    assert page.text("#left-out") == ""


def test_a_long_stream_keeps_the_page_small_and_the_newest_in_view(
    chromium: Chromium, producer: Producer, pictures: Path
) -> None:
    call = producer.stream("call")
    for _ in range(2):
        say(producer, call, *(f"text {n}" for n in range(600)))
    page = open_page(chromium, producer, "call", call, f"#token={mint(producer, 'call', call)}")
    page.wait(lambda: page.text("#count") == "1,200", about="all events")
    assert seqs(page) == list(range(201, 1201))
    assert page.text("#left-out") == "The last 1,000 events are shown."
    at_bottom = "innerHeight + scrollY >= document.documentElement.scrollHeight - 2"
    assert page.run(at_bottom)
    page.run("scrollTo(0, 500)")
    say(producer, call, "while the person reads above")
    page.wait(lambda: page.text("#newest") != "", about="the way down is offered")
    assert not page.run(at_bottom)
    page.picture(pictures / "long.png")
    page.click("#newest")
    page.wait(lambda: page.run(at_bottom) and page.text("#newest") == "", about="the newest is in view")
