"""A stream's events arrive once and in order, whatever happens to connections, tokens and the server."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.browser.chromium import Chromium, Page
from tests.clients.live.conftest import TOKEN_SECONDS
from tests.clients.live.programs import Programs
from tests.contracts.producer import Producer
from tests.contracts.relay import Relay
from tests.guides import code
from tests.processes import ROOT, eventually

SECONDS = 120.0
KIND = "note"
CLIENTS = ("python", "javascript", "go")
PAGE = b"<!doctype html><title>A page of another origin</title>"
FOLLOW = """
(async () => {
  const { subscribe } = await import("/index.js");
  window.seen = [];
  const token = async () => (await fetch("/token")).text();
  const live = subscribe(%s, (event) => seen.push(event), { token, lastEventId: "0" });
  live.done.then(() => { window.ended = "in order"; }, (error) => { window.ended = String(error); });
})()
"""
VERIFY = """
(async () => {
  const { verifyWebhook } = await import("/index.js");
  const vectors = await (await fetch(%s)).json();
  const wrong = [];
  for (const { name, secrets, headers, body, now, tolerance_seconds, valid } of vectors.signatures) {
    const found = await verifyWebhook(secrets, headers, body, { now, toleranceSeconds: tolerance_seconds })
      .then(() => true, (error) => error.message.startsWith("the signature is valid"));
    if (found !== valid) wrong.push(name);
  }
  return [vectors.signatures.length, wrong];
})()
"""


class Backend(SimpleHTTPRequestHandler):
    """Another origin: the client's modules, and tokens for its pages."""

    producer: Producer
    stream: str

    def do_GET(self) -> None:
        if self.path == "/token":
            self._answer(self.producer.ask("POST", f"/v1/streams/{KIND}/{self.stream}/tokens")["token"].encode())
        elif self.path == "/":
            self._answer(PAGE)
        else:
            super().do_GET()

    def do_POST(self) -> None:
        """What a customer's server does for the scripts of the guides."""
        if self.path == "/my-server/feed-token":
            made = self.producer.ask("POST", "/v1/feed/tokens", {"streams": [f"{KIND}:{self.stream}"]})
        else:
            made = self.producer.ask("POST", f"/v1/streams/{KIND}/{self.stream}/tokens")
        self._answer(json.dumps(made).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def page_of_another_origin(producer: Producer, stream: str, profile: Path) -> Iterator[Page]:
    """A page of a customer's own site, with the package's modules on it."""
    handler = type("Handler", (Backend,), {"producer": producer, "stream": stream})
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(ROOT / "clients/javascript/src")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    browser = Chromium(profile)
    try:
        yield browser.page(f"http://127.0.0.1:{server.server_address[1]}/")
    finally:
        browser.close_pages()
        browser.close()
        server.shutdown()
        server.server_close()


@pytest.fixture
def stream(producer: Producer) -> str:
    return producer.stream(KIND)


def test_nothing_is_missing_or_repeated_over_cuts_a_restart_and_expired_tokens(
    producer: Producer, programs: Programs, stream: str, tmp_path: Path
) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(producer.base_url))
        page = stack.enter_context(page_of_another_origin(producer, stream, tmp_path / "profile"))
        page.run(FOLLOW % json.dumps(f"{relay.base_url}/v1/streams/{KIND}/{stream}/live"))
        followers = [
            programs.start(client, "follow", relay.base_url, producer.key, KIND, stream, producer.base_url)
            for client in CLIENTS
        ]
        for follower in followers:
            stack.callback(follower.kill)

        def counts() -> list[int]:
            return [*(len(follower.lines) for follower in followers), page.run("seen.length")]

        def everybody_has(count: int) -> None:
            eventually(lambda: min(counts()) >= count, SECONDS, about=counts, poll_seconds=0.2)

        post(producer, stream, 20)
        everybody_has(20)
        for _ in range(2):
            relay.cut()
            post(producer, stream, 20)
            relay.mend()
        everybody_has(60)
        restart(producer, stream)
        everybody_has(producer.ask("GET", f"/v1/streams/{KIND}/{stream}")["last_seq"])
        # Every token that was good at the beginning has expired, and its connection was ended for it.
        eventually(lambda: time.monotonic() - began > 3 * TOKEN_SECONDS, SECONDS)
        post(producer, stream, 20)
        producer.end(KIND, stream)
        for follower in followers:
            follower.wait(SECONDS)
        page.wait_for("window.ended", SECONDS)
        assert page.run("ended") == "in order"
        expected = [(number + 1, event) for number, event in enumerate(posted(producer, stream))]
        assert len(expected) > 80
        for seen in (*(follower.lines for follower in followers), page.run("seen")):
            assert [(int(one["id"]), json.loads(one["data"])) for one in seen] == expected


def test_the_feed_and_its_consumers_miss_nothing_over_cuts_and_a_restart(
    producer: Producer, programs: Programs
) -> None:
    """Live each event comes once; a consumer may hand out a page twice when the answer to its commit is lost."""
    kind = f"fed{time.monotonic_ns()}"
    start = producer.ask("GET", "/v1/feed?after=latest")["cursor"]
    producer.ask("PUT", f"/v1/feed/consumers/go-{kind}", {"kinds": [kind], "start": start})
    posting = partial(producer.post, kind, type="fed.made", data={})
    with ExitStack() as stack:
        relay = stack.enter_context(Relay(producer.base_url))
        readers = [programs.start(client, "feed", relay.base_url, producer.key, kind, start) for client in CLIENTS]
        for reader in readers:
            stack.callback(reader.kill)

        def seen(by: str) -> list[list[str]]:
            return [[line["id"] for line in reader.lines if line["by"] == by] for reader in readers]

        ids: list[str] = []

        def post(count: int) -> None:
            ids.extend(posting(f"s_{number % 3}")["id"] for number in range(count))

        def everybody_has_all() -> None:
            eventually(
                lambda: all(set(ids) <= set(one) for one in [*seen("live"), *seen("consumer")]),
                SECONDS,
                about=lambda: (len(ids), [(len(reader.lines), reader.errors) for reader in readers]),
                poll_seconds=0.2,
            )

        post(10)
        everybody_has_all()
        for _ in range(2):
            relay.cut()
            post(10)
            relay.mend()
        everybody_has_all()
        restart_while(producer, lambda: post(1))
        everybody_has_all()
        assert seen("live") == [ids] * len(CLIENTS)
        for came in seen("consumer"):
            assert list(dict.fromkeys(came)) == ids


@pytest.mark.parametrize(("guide", "type"), [("streams", "call.barge_in"), ("feed", "order.paid")])
def test_a_page_shows_what_the_script_of_the_guide_brings(
    guide: str, type: str, producer: Producer, stream: str, tmp_path: Path
) -> None:
    script = code(guide, "javascript").replace("console.log(", "window.seen.push(")
    with page_of_another_origin(producer, stream, tmp_path / "profile") as page:
        page.run(f"(async () => {{ window.seen = []; {script}; window.begun = true; }})()")
        page.wait_for("window.begun", SECONDS)

        def seen() -> Any:
            producer.post(KIND, stream, type, {"at_ms": 1})
            return page.run("seen.map((event) => event.type)")

        assert set(eventually(seen, SECONDS, poll_seconds=0.2)) == {type}


def test_the_vectors_hold_in_chromium(producer: Producer, stream: str, tmp_path: Path) -> None:
    with page_of_another_origin(producer, stream, tmp_path / "profile") as page:
        count, wrong = page.run(VERIFY % json.dumps(f"{producer.base_url}/.well-known/twofold/vectors.json"))
        assert count > 40
        assert wrong == []


def post(producer: Producer, stream: str, count: int) -> None:
    for number in range(count):
        producer.post(KIND, stream, "note.added", {"n": number, "text": "é 😀 \u2028"})


def restart(producer: Producer, stream: str) -> None:
    """Replace all web processes, while events come."""
    restart_while(producer, lambda: post(producer, stream, 1))


def restart_while(producer: Producer, posting: Callable[[], object]) -> None:
    """Replace all web processes; until they are, this is called again and again."""
    old = {child.pid for child in psutil.Process(producer.server.pid).children()}
    producer.server.web.send_signal(signal.SIGHUP)

    def replaced() -> bool:
        posting()
        return not old & {child.pid for child in psutil.Process(producer.server.pid).children()}

    eventually(replaced, SECONDS, poll_seconds=0.1)


def posted(producer: Producer, stream: str) -> list[Any]:
    """The stream's events, as they are stored."""
    found, after = [], 0
    while page := producer.ask("GET", f"/v1/events?stream_kind={KIND}&stream_id={stream}&after_seq={after}")["data"]:
        found += page
        after = page[-1]["seq"]
    return found
