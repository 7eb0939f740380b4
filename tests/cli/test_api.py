"""What a server refuses is told in one line with its trace id and by an exit status of its cause."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.cli.api import refusal, stream_path
from app.cli.command import CommandError, Status, status_of
from tests.cli.conftest import OddServer, Run


@pytest.mark.parametrize(
    ("http", "status"),
    [(401, 4), (403, 4), (404, 5), (409, 6), (413, 6), (422, 6), (429, 6), (500, 3), (503, 3)],
)
def test_each_refusal_has_its_status(odd_server: OddServer, run: Run, http: int, status: int) -> None:
    problem = {"detail": "That is so.", "code": "odd", "trace_id": "abc"}
    odd_server.answers = [(http, {}, json.dumps(problem).encode())]
    ended = run("endpoints", "show", "ep_1")
    assert (ended.status, ended.out, ended.err) == (status, "", f"twofold: That is so. ({http}, odd, trace abc)\n")


def test_what_is_no_problem_is_shown_in_short() -> None:
    assert str(refusal(502, "<h1>Bad gateway</h1>")) == "the server answered 502: <h1>Bad gateway</h1>"
    assert len(str(refusal(500, "x" * 9999))) < 300
    assert status_of(418) == Status.REFUSED


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {}, b"<html>"), "does not answer as Twofold does (from TWOFOLD_URL)"),
        ((301, {"Location": "https://other.example/"}, b""), "elsewhere (https://other.example/)"),
    ],
)
def test_a_server_that_is_another_one_is_named(
    odd_server: OddServer, run: Run, answer: tuple[int, dict[str, str], bytes], said: str
) -> None:
    odd_server.answers = [answer]
    ended = run("streams", "list")
    assert (ended.status, said in ended.err) == (1, True)
    assert len(odd_server.asked) == 1, "the key went to another server"


def test_a_server_that_does_not_answer_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWOFOLD_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("TWOFOLD_API_KEY", "pk_1")
    ended = run("keys", "list")
    assert ended.status == 3
    assert ended.err.startswith("twofold: http://127.0.0.1:1 does not answer: no connection (from TWOFOLD_URL).")


def test_our_key_wins_over_netrc_and_no_proxy_is_asked_for_this_machine(
    odd_server: OddServer, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    odd_server.answers = [(200, {}, b'{"data": [], "next_cursor": null}')]
    assert run("endpoints", "list", "--workspace", "acme").status == 0
    ((_, path, headers, _),) = odd_server.asked
    assert (headers["Authorization"], headers["X-Workspace"]) == ("Bearer pk_odd", "acme")
    assert path == "/v1/endpoints?limit=50"


def test_lists_go_on_over_pages_up_to_the_limit(odd_server: OddServer, run: Run) -> None:
    def page(first: int, count: int, cursor: str | None) -> tuple[int, dict[str, str], bytes]:
        rows = [{"id": f"ep_{number}"} for number in range(first, first + count)]
        return 200, {}, json.dumps({"data": rows, "next_cursor": cursor}).encode()

    odd_server.answers = [page(0, 250, "a"), page(250, 0, "b"), page(250, 50, "c")]
    assert len(run("endpoints", "list", "--json", "--limit", "300").out.splitlines()) == 300
    assert [path for _, path, _, _ in odd_server.asked] == [
        "/v1/endpoints?limit=250",
        "/v1/endpoints?limit=50&cursor=a",
        "/v1/endpoints?limit=50&cursor=b",
    ]
    odd_server.answers = [page(0, 250, "a"), page(250, 3, None)]
    assert len(run("endpoints", "list", "--json", "--limit", "0").out.splitlines()) == 253


def test_an_explanation_is_a_sentence_for_each_endpoint(odd_server: OddServer, run: Run) -> None:
    told = [
        {
            "endpoint_id": "ep_1",
            "code": "filtered",
            "sentence": "It wants other types.",
            "endpoint": {"url": "http://a/"},
        },
        {"endpoint_id": "ep_2", "code": "deleted", "sentence": "It is deleted.", "endpoint": None},
    ]
    odd_server.answers = [(200, {}, json.dumps({"data": told, "next_cursor": None}).encode())]
    assert run("explain", "evt_1", "--endpoint", "ep_1").out == (
        "ep_1  http://a/\n  It wants other types.\nep_2  -\n  It is deleted.\n"
    )
    assert odd_server.asked[0][1] == "/v1/events/evt_1/explain?endpoint_id=ep_1&limit=50"
    assert [json.loads(line) for line in run("explain", "evt_1", "--json").out.splitlines()] == told


def test_sending_that_stops_for_good_says_how_to_go_on(odd_server: OddServer, run: Run, tmp_path: Path) -> None:
    (tmp_path / "events").write_text('{"data":{}}\n')
    odd_server.answers = [(503, {}, b"{}")]
    ended = run("publish", str(tmp_path / "events"), "--retries", "0", "--idempotency-key", "k1")
    assert ended.status == 3
    assert "0 accepted. Run it again with --idempotency-key k1: nothing is stored twice.\n" in ended.err
    assert "line 1 and what follows it was not sent" in ended.err
    assert odd_server.asked[0][3] == b'{"idempotency_key":"k1:1","data":{}}\n'


@pytest.mark.parametrize("name", ["call", "call/", "/call_42", ""])
def test_a_stream_is_named_by_its_kind_and_its_id(name: str) -> None:
    with pytest.raises(CommandError, match="is not a stream; write its kind and its id") as failed:
        stream_path(name)
    assert failed.value.status == Status.USAGE
    assert stream_path("call/a:b@c") == "/v1/streams/call/a%3Ab%40c"
