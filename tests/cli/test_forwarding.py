"""`twofold listen --forward-to`: what it refuses, what it keeps, how it reads pages and judges answers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.cli.api import Api
from app.cli.command import CommandError, Status
from app.cli.forward_receiver import Answer, Receiver, checked_url
from app.cli.forward_state import State, StateFile, place
from app.cli.forwarding import Ending, NoPage, Page, first_place, page_of, read_page
from app.cli.profiles import Server
from app.client import verify_webhook
from app.client.receiving import WebhookServer
from app.core.webhook.signing import new_secret
from tests.cli.conftest import OddServer, Run

SECRET = new_secret(b"s" * 32)
STATE = State("http://s", "http://localhost:3000/", "abc", SECRET)
SPELLED = b'{"id":"evt_1","data":{"at":1.50,"large":12345678901234567890,"text":"\\u00e9"}}'


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("3000", "http://localhost:3000/"),
        ("localhost:3000/hook", "http://localhost:3000/hook"),
        ("ftp://localhost/", "http://localhost:3000/hook"),
        ("http:///hook", "http://localhost:3000/hook"),
        ("http://localhost:99999/", "http://localhost:3000/hook"),
        ("http://localhost/#a", "http://localhost:3000/hook"),
        ("", "http://localhost:3000/hook"),
        ("http://a:b@localhost/", "leave out names"),
        ("http://localhost/ä", "leave out names"),
    ],
)
def test_an_address_that_is_none_is_refused_with_one_that_is(given: str, hint: str) -> None:
    with pytest.raises(CommandError, match="leave out" if "leave" in hint else "write it as") as caught:
        checked_url(given)
    assert hint in str(caught.value)
    assert caught.value.status == Status.USAGE


@pytest.mark.parametrize("given", ["http://localhost:3000/hook?a=1", "https://[::1]:8443/", "http://127.0.0.1"])
def test_other_addresses_are_taken_as_they_are(given: str) -> None:
    assert checked_url(given) == given


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--forward-to", "x:y:z"), "is no address"),
        (("--forward-to", "http://localhost/", "--port", "9000"), "--port is for receiving"),
        (("--forward-to", "http://localhost/", "--secret", "a"), "starts with whsec_"),
        (("--forward-to", "http://localhost/", "--secret", "whsec_a", "--endpoint", "ep_1"), "not both"),
        (("--forward-to", "http://localhost/", "--streams", "call"), "--streams 'call' is not the kind and the id"),
        (("--types", "call.*"), "--types needs --forward-to"),
        (("--state", "file"), "--state needs --forward-to"),
    ],
)
def test_nonsense_is_refused_with_the_mend(run: Run, argv: tuple[str, ...], said: str) -> None:
    ended = run("listen", *argv)
    assert (ended.status, said in ended.err) == (Status.USAGE, True), ended.err


def test_the_place_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "deep" / "state.json")
    file.lock()
    assert file.read("http://s", "http://localhost:3000/") is None
    file.write(STATE)
    assert file.read("http://s", "http://localhost:3000/") == STATE
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_a_place_of_somewhere_else_and_one_that_is_damaged_are_refused(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    file.write(STATE)
    with pytest.raises(CommandError, match="of another server or receiver"):
        file.read("http://other", "http://localhost:3000/")
    for text in ("", "{", "[]", '{"server": 1}', json.dumps({"server": "a", "forward_to": "b", "cursor": None})):
        file.path.write_text(text)
        with pytest.raises(CommandError, match="is damaged; remove it"):
            file.read("http://s", "http://localhost:3000/")


def test_two_do_not_forward_by_the_same_place(tmp_path: Path) -> None:
    file = StateFile(tmp_path / "state.json")
    file.lock()
    other = "import sys; from pathlib import Path; from app.cli.forward_state import StateFile;"
    line = [sys.executable, "-c", f"{other} StateFile(Path(sys.argv[1])).lock()", str(file.path)]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False)
    assert f"process {os.getpid()} forwards there already" in ended.stderr


def test_each_server_workspace_and_receiver_has_a_place_of_its_own(tmp_path: Path) -> None:
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    asked = [("a", None, "x"), ("b", None, "x"), ("a", "w", "x"), ("a", None, "y")]
    assert len({place(environ, *one) for one in asked}) == 4
    assert place(environ, *asked[0]).parent == tmp_path / "twofold"
    assert place({"XDG_STATE_HOME": "relative"}, *asked[0]).parent == Path.home() / ".local" / "state" / "twofold"


def test_events_keep_their_spelling() -> None:
    text = b'{"data": [{"cursor":"c1","event":%b},{"cursor":"c2","event":{}}],"cursor":"c3","more":false}' % SPELLED
    page = page_of(text.decode())
    assert [(entry.cursor, entry.body) for entry in page.entries] == [("c1", SPELLED), ("c2", b"{}")]
    assert page.cursor == "c3"


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (200, b'{"data":[],"cursor":"c","more":false}', Page([], "c")),
        (200, b"<html>", NoPage),
        (200, b'{"data":[{}],"cursor":"c"}', NoPage),
        (503, b"", NoPage),
        (429, b"", NoPage),
        (401, b"", CommandError),
        (404, b"", CommandError),
        (409, b"{}", CommandError),
    ],
)
def test_what_passes_is_asked_again_and_what_does_not_ends_the_command(
    odd_server: OddServer, status: int, body: bytes, found: object
) -> None:
    odd_server.answers = [(status, {}, body)]
    with Api(Server(odd_server.url, "pk_1")) as api:
        if found is CommandError:
            with pytest.raises(CommandError):
                read_page(api, {"after": "c"})
            return
        answer = read_page(api, {"after": "c"})
    assert answer == found or type(answer) is found


def test_a_place_that_was_lost_comes_with_another_one(odd_server: OddServer) -> None:
    lost = {"detail": "lost", "code": "cursor_lost", "trace_id": "t", "cursor": "there"}
    odd_server.answers = [(409, {}, json.dumps(lost).encode())]
    with Api(Server(odd_server.url, "pk_1")) as api:
        answer = read_page(api, {"after": "c"})
        assert isinstance(answer, NoPage)
        assert answer.cursor == "there"
        with pytest.raises(CommandError, match="cursor_lost"):
            first_place(api, {}, "c")


def test_a_webhook_has_the_headers_of_a_delivery_and_its_bytes() -> None:
    came: list[tuple[dict[str, str], bytes]] = []

    def take(headers: dict[str, str], body: bytes) -> int:
        came.append((headers, body))
        return 418

    with WebhookServer(0, take) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        receiver = Receiver(f"http://127.0.0.1:{server.server_port}/a?b=c", [SECRET], 5, with_cursor=True)
        answer = receiver.post("evt_1", SPELLED, "before")
        server.shutdown()
    ((headers, body),) = came
    verify_webhook([SECRET], headers, body)
    assert (answer.status, answer.is_down, answer.is_good, body) == (418, False, False, SPELLED)
    assert headers["webhook-feed-cursor"] == "before"
    assert headers["user-agent"] == "Twofold/1.0 (webhooks)"
    assert "accept-encoding" not in headers


def test_a_receiver_that_is_not_there_is_down() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        assert Receiver(f"http://127.0.0.1:{port}/", [SECRET], 5).post("evt_1", b"{}", "").why == "nobody listens there"
        silent.listen()
        answer = Receiver(f"http://127.0.0.1:{port}/", [SECRET], 0.05).post("evt_1", b"{}", "")
    assert (answer.status, answer.is_down, answer.why) == (None, True, "no answer within 0.05 s")


@pytest.mark.parametrize(
    ("status", "down"), [(200, False), (204, False), (302, False), (400, False), (500, False), (410, False),
                         (429, True), (502, True), (503, True), (504, True), (None, True)]
)  # fmt: skip
def test_which_answers_are_final(status: int | None, down: bool) -> None:
    assert Answer(status, 1).is_down is down


def interrupted(times: int) -> list[str]:
    """What of a piece of work is done that is interrupted in the middle."""
    ending, done = Ending(), []

    def work() -> None:
        with ending.later():
            done.append("begun")
            for _ in range(times):
                os.kill(os.getpid(), signal.SIGINT)
            done.append("ended")
        done.append("next")

    with ending.heard():
        try:
            work()
        except KeyboardInterrupt:
            done.append("left")
    return done


@pytest.mark.parametrize(
    ("times", "done"),
    [(0, ["begun", "ended", "next"]), (1, ["begun", "ended", "left"]), (2, ["begun", "left"])],
)
def test_ctrl_c_waits_for_what_is_under_way_and_a_second_one_does_not(times: int, done: list[str]) -> None:
    assert interrupted(times) == done
