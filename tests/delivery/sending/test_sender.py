"""The sender against real servers on loopback: what counts as delivered, and what every failure is called."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering, then_close, then_stall

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
TOTAL_SECONDS = 0.4
BODY = b'{"id":"evt_1","data":{}}'


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender(LOOPBACK, total_seconds=5)
    yield made
    made.close()


@pytest.fixture
def hasty() -> Iterator[Sender]:
    """A sender that gives up soon, for servers that never answer."""
    made = Sender(LOOPBACK, total_seconds=TOTAL_SECONDS, connect_seconds=TOTAL_SECONDS / 2)
    yield made
    made.close()


def post(sender: Sender, url: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = BODY) -> Result:
    sender.add(Request("the key", url, headers, body))
    assert sender.in_flight == 1
    [result] = sender.poll(20)
    assert (result.key, sender.in_flight) == ("the key", 0)
    return result


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return head.encode("latin-1") + body


@pytest.mark.parametrize(
    ("reply", "outcome", "status_code"),
    [
        (OK, "success", 200),
        (answer("201 Created", b"made"), "success", 201),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "success", 204),
        (b"HTTP/1.1 204\r\n\r\n", "success", 204),
        (answer("299 Odd"), "success", 299),
        (answer("300 Choices"), "http_error", 300),
        (answer("304 Not Modified"), "http_error", 304),
        (answer("400 Bad Request"), "http_error", 400),
        (answer("401 Unauthorized", b"", 'WWW-Authenticate: Basic realm="x"'), "http_error", 401),
        (answer("407 Proxy Authentication Required"), "http_error", 407),
        (answer("410 Gone"), "http_error", 410),
        (answer("500 Internal Server Error", b"oops"), "http_error", 500),
        (answer("999 Odd"), "http_error", 999),
        (answer("200 OK", b"", "HTTP/1.1: 500", "HTTP/x: y"), "success", 200),
        (answer("200 OK", b"", "Folded: a", " b"), "success", 200),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, "success", 200),
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer("500 No"), "http_error", 500),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: t\r\n\r\n", "success", 200),
    ],
)
def test_the_status_decides(sender: Sender, reply: bytes, outcome: str, status_code: int) -> None:
    with ScriptedServer(answering(reply)) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.status_code, result.error) == (outcome, status_code, None)
    assert len(server.seen) == 1
    assert result.remote_address == "127.0.0.1"
    assert 0 < result.duration_seconds < 5


def test_the_request_is_a_plain_post_with_our_headers_only(sender: Sender) -> None:
    with ScriptedServer(answering(OK)) as server:
        post(sender, server.url + "?a=b", (("webhook-id", "evt_1"), ("X-Latin", "café"), ("X-Empty", "")))
    [seen] = server.seen
    assert seen.body == BODY
    assert seen.head[0] == "POST /hook?a=b HTTP/1.1"
    assert sorted(seen.head[1:]) == [
        "Accept: */*",
        f"Content-Length: {len(BODY)}",
        "Content-Type: application/json",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: Twofold/1.0 (webhooks)",
        "X-Empty:",
        "X-Latin: café",
        "webhook-id: evt_1",
    ]


def test_the_customers_headers_win_over_the_defaults(sender: Sender) -> None:
    with ScriptedServer(answering(OK)) as server:
        post(sender, server.url, (("content-TYPE", "application/cloudevents+json"), ("User-Agent", "mine")))
    assert server.seen[0].header("content-type") == "application/cloudevents+json"
    assert server.seen[0].header("user-agent") == "mine"


def test_a_large_body_is_sent_whole_and_without_asking_first(sender: Sender) -> None:
    body = os.urandom(3 * 2**20)
    with ScriptedServer(answering(OK)) as server:
        assert post(sender, server.url, body=body).outcome == "success"
    assert server.seen[0].body == body
    assert server.seen[0].header("expect") is None


def test_what_the_server_said_is_kept_for_the_log(sender: Sender) -> None:
    reply = answer("503 Busy", b"come back\x00\xff", "Retry-After:  120 ", "X-Two: a", "x-two: b", "X-Latin: caf\u00e9")
    interim = b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"
    with ScriptedServer(answering(interim + reply)) as server:
        result = post(sender, server.url)
    assert result.response_headers == [
        ("Content-Length", "11"),
        ("Retry-After", "120"),
        ("X-Two", "a"),
        ("x-two", "b"),
        ("X-Latin", "café"),
    ]
    assert (result.retry_after, result.response_body) == ("120", b"come back\x00\xff")


@pytest.mark.parametrize(
    "location", ["http://169.254.169.254/latest/meta-data/", "/elsewhere", "file:///etc/passwd", "http://localhost/"]
)
@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(sender: Sender, status: str, location: str) -> None:
    with ScriptedServer(answering(answer(status, b"", f"Location: {location}"))) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.status_code) == ("http_error", int(status[:3]))
    assert ("Location", location) in result.response_headers
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
)
def test_a_body_beyond_64_kib_is_cut_and_the_status_still_decides(sender: Sender, head: bytes) -> None:
    line = b"x" * 65_534 + b"\r\n"

    def script(server: ScriptedServer, connection: socket.socket, _seen: object) -> None:
        connection.sendall(head)
        while not server.over.is_set():  # for ever, were it not cut
            connection.sendall(b"10000\r\n" + line + b"\r\n" if b"chunked" in head else line)

    with ScriptedServer(script) as server:
        result = post(sender, server.url)
    assert result.status_code == int(head[9:12])
    assert result.outcome == ("success" if result.status_code == 200 else "http_error")
    assert len(result.response_body) == 16 * 1024
    assert result.error is None
    assert result.duration_seconds < 4


@pytest.mark.parametrize(
    ("length", "kept", "connections"), [(16_384, 16_384, 1), (65_536, 16_384, 1), (65_537, 16_384, 2)]
)
def test_a_body_up_to_64_kib_leaves_the_connection_usable(
    sender: Sender, length: int, kept: int, connections: int
) -> None:
    with ScriptedServer(answering(answer("200 OK", b"y" * length))) as server:
        assert [len(post(sender, server.url).response_body) for _ in range(2)] == [kept, kept]
    assert server.connections == connections


@pytest.mark.parametrize(
    ("start", "status_code"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", 200),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 10\r\n\r\nhalf", 202),
        (b"HTTP/1.1 200 OK\r\n\r\n", 200),
        (b"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nhalf", 500),
    ],
)
def test_a_complete_head_decides_though_the_body_stalls(hasty: Sender, start: bytes, status_code: int) -> None:
    with ScriptedServer(then_stall(start)) as server:
        result = post(hasty, server.url)
    assert (result.status_code, result.outcome) == (status_code, "success" if status_code < 300 else "http_error")
    assert result.response_body == start.partition(b"\r\n\r\n")[2]
    assert "not complete" in (result.error or "")
    assert result.duration_seconds == pytest.approx(TOTAL_SECONDS, abs=0.3)


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
def test_a_broken_body_after_a_complete_head_is_still_a_success(sender: Sender, reply: bytes) -> None:
    with ScriptedServer(then_close(reply)) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.status_code) == ("success", 200)
    assert "not complete" in (result.error or "")


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nX: y\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n"]
)
def test_a_head_that_does_not_come_in_time_is_a_timeout(hasty: Sender, start: bytes) -> None:
    with ScriptedServer(then_stall(start)) as server:
        result = post(hasty, server.url)
    assert (result.outcome, result.status_code, result.response_headers) == ("timeout", None, [])
    assert result.remote_address == "127.0.0.1"
    assert result.duration_seconds == pytest.approx(TOTAL_SECONDS, abs=0.3)


def test_a_head_that_trickles_in_meets_the_total_deadline(hasty: Sender) -> None:
    def script(server: ScriptedServer, connection: socket.socket, _seen: object) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not server.over.wait(0.02):
            connection.sendall(b"a")

    with ScriptedServer(script) as server:
        result = post(hasty, server.url)
    assert result.outcome == "timeout"
    assert result.duration_seconds == pytest.approx(TOTAL_SECONDS, abs=0.3)


def test_a_server_that_does_not_read_meets_the_total_deadline(hasty: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        result = post(hasty, f"http://127.0.0.1:{listener.getsockname()[1]}/", body=b"x" * 32 * 2**20)
    assert result.outcome == "timeout"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/9.1 200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"\r\n\r\n",
        b"<html>hello</html>",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
    ],
)
def test_what_is_not_http_is_a_protocol_error(sender: Sender, reply: bytes) -> None:
    with ScriptedServer(then_close(reply)) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.status_code) == ("protocol_error", None)
    assert result.error
    assert result.remote_address == "127.0.0.1"


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (b"garbage\r\n\r\n", "it does not begin with a status line"),
        (b"<html>hello</html>", "it does not begin with a status line"),
        (b"220 mail.example ESMTP\r\n", "it does not begin with a status line"),
        (b"\r\n\r\n", "it does not begin with a status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "it does not begin with a status line"),
        (b"HTTP/1.1 200OK\r\n\r\n", "it does not begin with a status line"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2000 OK\r\n\r\n", "it does not begin with a status line"),
        (b"HTTP/9.1 200 OK\r\n\r\n", "Unsupported HTTP version in response"),
    ],
)
def test_what_does_not_begin_as_http_is_called_so(sender: Sender, reply: bytes, words: str) -> None:
    with ScriptedServer(then_close(reply)) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.error) == ("protocol_error", f"the answer is not HTTP: {words}")


@pytest.mark.parametrize("reply", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Le"])
def test_a_connection_that_is_closed_inside_the_head_is_called_so(sender: Sender, reply: bytes) -> None:
    with ScriptedServer(then_close(reply)) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.error) == (
        "protocol_error",
        "the connection was closed inside the head of the answer",
    )


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"v" * 1000) for n in range(70)) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"v" * 66_000 + b"\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3000 + OK,
    ],
)
def test_a_head_beyond_64_kib_is_a_protocol_error(sender: Sender, reply: bytes) -> None:
    with ScriptedServer(then_close(reply)) as server:
        result = post(sender, server.url)
    assert (result.outcome, result.status_code, result.response_headers) == ("protocol_error", None, [])
    assert result.error == "the head of the answer is larger than 64 KiB"


def test_a_head_below_64_kib_is_read(sender: Sender) -> None:
    headers = [f"X-{number}: {'v' * 1000}" for number in range(60)]
    with ScriptedServer(answering(answer("200 OK", b"", *headers))) as server:
        result = post(sender, server.url)
    assert result.outcome == "success"
    assert len(result.response_headers) == 61


def test_an_http_1_0_server_is_understood(sender: Sender) -> None:
    with ScriptedServer(then_close(b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nhello")) as server:
        first, second = post(sender, server.url), post(sender, server.url)
    assert first.outcome == second.outcome == "success"
    assert first.response_body == b"hello"
    assert first.error is None
    assert server.connections == 2


def test_a_refused_connection_is_a_connect_error(sender: Sender) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    result = post(sender, f"http://127.0.0.1:{port}/")
    assert (result.outcome, result.status_code, result.remote_address) == ("connect_error", None, "127.0.0.1")


def test_a_connection_that_is_never_accepted_times_out_after_the_time_to_connect(hasty: Sender) -> None:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # fill the queue: after that the kernel drops what asks to connect
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        result = post(hasty, f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert (result.outcome, result.status_code) == ("timeout", None)
    assert result.duration_seconds == pytest.approx(TOTAL_SECONDS / 2, abs=0.15)


def test_a_name_that_does_not_exist_is_a_dns_error(sender: Sender) -> None:
    result = post(sender, "http://no-such-host.invalid/")  # RFC 6761, 6.4: never resolves
    assert (result.outcome, result.remote_address) == ("dns_error", None)
    assert "no-such-host.invalid" in (result.error or "")


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        ("ftp://127.0.0.1/", ()),
        ("file:///etc/passwd", ()),
        ("gopher://127.0.0.1/", ()),
        ("ws://127.0.0.1/", ()),
        ("http://", ()),
        ("http://127.0.0.1:99999/", ()),
        ("http://exa mple/", ()),
        ("", ()),
        ("http://bücher.invalid/ü", ()),
        ("http://127.0.0.1/\0", ()),
        ("http://127.0.0.1/", (("X", "a\r\nY: b"),)),
        ("http://127.0.0.1/", (("X\nY", "b"),)),
        ("http://127.0.0.1/", (("X", "a\0"),)),
        ("http://127.0.0.1/", (("X", "\u20ac"),)),
    ],
)
def test_what_cannot_be_sent_is_a_result_and_the_sender_goes_on(
    sender: Sender, url: str, headers: tuple[tuple[str, str], ...]
) -> None:
    result = post(sender, url, headers)
    assert (result.outcome, result.status_code) == ("protocol_error", None)
    assert result.error
    with ScriptedServer(answering(OK)) as server:
        assert post(sender, server.url).outcome == "success"


def test_poll_returns_at_once_when_nothing_is_in_flight_and_waits_otherwise(hasty: Sender) -> None:
    started = time.monotonic()
    assert hasty.poll(10) == []
    assert time.monotonic() - started < 1
    with ScriptedServer(then_stall(b"")) as server:
        hasty.add(Request(1, server.url, (), BODY))
        assert hasty.poll(0) == []
        assert hasty.poll(0.05) == []
        assert hasty.in_flight == 1
        assert [result.outcome for result in hasty.poll(10)] == ["timeout"]


def test_closing_gives_up_what_is_in_flight() -> None:
    files = len(os.listdir("/proc/self/fd"))
    sender = Sender(LOOPBACK)
    with ScriptedServer(then_stall(b"")) as server:
        for number in range(10):
            sender.add(Request(number, server.url, (), BODY))
        until = time.monotonic() + 5
        while server.connections < 10 and time.monotonic() < until:
            sender.poll(0.01)
        sender.close()
    assert sender.in_flight == 0
    assert len(os.listdir("/proc/self/fd")) == files


def test_a_sender_is_not_used_after_a_fork(sender: Sender) -> None:
    child = os.fork()
    if child == 0:
        try:
            sender.add(Request(1, "http://127.0.0.1:1/", (), BODY))
        except RuntimeError:
            os._exit(0)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
