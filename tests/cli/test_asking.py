"""The commands that ask a server, against a running one: publish, tail, look, retry, recover, doctor."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.client.receiving import WebhookServer
from tests.cli.conftest import Ended, Run
from tests.processes import ROOT, RunningServer, eventually


@pytest.fixture(autouse=True)
def _server(monkeypatch: pytest.MonkeyPatch, product: RunningServer) -> None:
    monkeypatch.setenv("TWOFOLD_URL", product.base_url)
    monkeypatch.setenv("TWOFOLD_API_KEY", product.workspace_key)


@pytest.fixture
def receiver() -> Iterator[list[int]]:
    """The status that a receiver answers with, then its port."""
    state = [500]
    with WebhookServer(0, lambda *_: state[0]) as server:
        state.append(server.server_port)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield state
        server.shutdown()


def rows(ended: Ended) -> list[Any]:
    assert ended.status == 0, ended.err
    return [json.loads(line) for line in ended.out.splitlines()]


def publish(run: Run, stream: str, *more: str) -> Ended:
    return run("publish", "--stream", stream, "--type", "call.turn", "--data", '{"gain":1.0}', *more)


def test_an_event_is_published_once_and_read_back_as_it_was_spelled(run: Run) -> None:
    first = publish(run, "call/cli_1", "--idempotency-key", "only")
    assert re.fullmatch(r"evt_\w+ call/cli_1 seq 1\n", first.out)
    again = publish(run, "call/cli_1", "--idempotency-key", "only")
    assert again.out == first.out.replace("seq 1", "seq 1, stored before")
    id = first.out.split()[0]
    assert '"data":{"gain":1.0}' in run("events", "show", id).out
    assert [row["id"] for row in rows(run("events", "list", "--stream", "call/cli_1", "--json"))] == [id]
    assert run("events", "list", "--stream", "call/cli_1").out.splitlines()[1].split()[:3] == [id, "call.turn", "1"]


def test_a_file_of_events_is_sent_in_order_and_what_is_refused_is_named(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f'{{"stream":{{"kind":"call","id":"cli_2"}},"data":{{"n":{n}}}}}' for n in range(1200)]
    lines.insert(700, '{"stream":{"kind":"call","id":"not one"},"data":{}}')
    lines.insert(900, "not json")
    file = tmp_path / "events.ndjson"
    file.write_text("\n".join(lines))
    ended = run("publish", str(file), "--type", "call.turn", "--idempotency-key", "file")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.splitlines()[-1] == "1,200 accepted, 2 refused"
    assert [line.split(":")[0] for line in ended.err.splitlines()[:-1]] == ["line 701", "line 901"]
    stored = rows(run("events", "list", "--stream", "call/cli_2", "--json", "--limit", "0"))
    assert [row["data"]["n"] for row in stored] == list(range(1200))
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    again = run("publish", "-", "--type", "call.turn", "--idempotency-key", "file", "--json")
    assert again.err == "0 accepted, 1,200 stored before, 2 refused\n"
    answers = [json.loads(line) for line in again.out.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, 1203))


def test_a_stream_is_followed_to_its_end(run: Run) -> None:
    publish(run, "call/cli_3")
    publish(run, "call/cli_3")
    assert rows(run("streams", "show", "call/cli_3", "--json"))[0]["last_seq"] == 2
    assert run("streams", "token", "call/cli_3").out.startswith("id ")
    assert "ended" in run("streams", "end", "call/cli_3").out
    assert publish(run, "call/cli_3").status == 6
    ended = run("tail", "call/cli_3", "--after", "1", "--json")
    assert ended.status == 0
    assert [json.loads(line)["seq"] for line in ended.out.splitlines()] == [2]
    assert '"data":{"gain":1.0}' in ended.out
    assert run("tail", "call/cli_none").status == 5
    listed = run("streams", "list", "--kind", "call", "--status", "ended", "--limit", "0").out
    assert re.search(r"^cli_3 +call +ended", listed, re.MULTILINE)


def test_a_delivery_that_failed_is_seen_retried_and_recovered(run: Run, receiver: list[int]) -> None:
    status, port = receiver
    made = rows(run("endpoints", "create", f"http://127.0.0.1:{port}/", "--type", "cli.*", "--kind", "call", "--json"))[
        0
    ]
    id = made["id"]
    assert rows(run("endpoints", "show", id, "--json"))[0]["event_types"] == ["cli.*"]
    event = run("publish", "--stream", "call/cli_4", "--type", "cli.sent", "--data", "{}").out.split()[0]

    def delivery(wanted: str) -> dict[str, Any]:
        found = rows(run("deliveries", "list", "--event", event, "--json"))
        return found[0] if found and found[0]["status"] == wanted and found[0]["attempt_count"] else {}

    failing = eventually(lambda: delivery("pending"), 30)
    shown = run("deliveries", "show", failing["id"]).out
    assert "attempt 1: http_error, 500," in shown
    assert "next attempt; given up after" in shown
    receiver[0] = 204
    assert run("retry", failing["id"]).out == f"{failing['id']} pending, to be attempted now\n"
    eventually(lambda: delivery("delivered"), 30)
    assert rows(run("deliveries", "list", "--endpoint", id, "--status", "delivered", "--since", "1h", "--json"))
    assert run("recover", id, "--since", "1h").out.startswith("0 deliveries to be attempted again, ")
    assert run("endpoints", "test", id).out.startswith("evt_")
    assert run("endpoints", "rotate", id).out.startswith("secret")
    assert run("endpoints", "secret", id).out.startswith("secret")
    assert "attempts" in run("endpoints", "stats", id).out
    assert run("endpoints", "disable", id).out == f"{id} disabled\n"
    assert run("endpoints", "enable", id).out == f"{id} enabled\n"
    assert id in run("endpoints", "list").out
    assert run("endpoints", "delete", id, "--yes").status == 0
    assert run("endpoints", "show", id).status == 5
    assert status == 500


def test_the_delivery_log_is_followed(run: Run, receiver: list[int]) -> None:
    receiver[0] = 204
    made = rows(run("endpoints", "create", f"http://127.0.0.1:{receiver[1]}/", "--type", "log.*", "--json"))[0]
    command = [sys.executable, "-m", "app.cli", "tail", "--deliveries", "--endpoint", made["id"]]
    with subprocess.Popen(command, cwd=ROOT, env=dict(os.environ), stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        shown: list[str] = []
        threading.Thread(target=lambda: shown.append(following.stdout.readline()), daemon=True).start()  # type: ignore[union-attr]

        def published() -> list[str]:
            run("publish", "--stream", "call/cli_5", "--type", "log.sent", "--data", "{}")
            return shown

        eventually(published, 30)
        following.send_signal(2)
        assert following.wait(20) == 0
    assert re.search(rf"log\.sent to {made['id']}  attempt 1: success 204, \d+ ms, delivered\n", shown[0])
    run("endpoints", "delete", made["id"], "--yes")


def test_the_feed_is_read_page_by_page_and_a_consumer_is_moved(run: Run) -> None:
    made = [publish(run, f"call/fed_{n}").out.split()[0] for n in (1, 2, 1)]
    streams = ("call/fed_1", "call/fed_2")
    first = run("feed", "page", *streams, "--after", "1h", "--limit", "2", "--json")
    assert [entry["event"]["id"] for entry in rows(first)] == made[:2]
    assert '"data":{"gain":1.0}' in first.out
    note = re.fullmatch(r"There may be more\. Go on with: --after (\S+)\n", first.err)
    assert note is not None
    second = run("feed", "page", *streams, "--after", note[1])
    assert re.fullmatch(r'call/fed_1  \d\d:\S+      2  call\.turn  {"gain": 1\.0}\n', second.out)
    assert second.err.startswith("Go on with: --after ")
    assert run("feed", "page", "--after", "nowhere").status == 6
    only = '{"path": "/gain", "gte": 0.5}'
    (made,) = rows(run("consumers", "create", "cli-billing", "--type", "call.*", "--filter", only, "--json"))
    assert (made["types"], made["content_filter"]) == (["call.*"], json.loads(only))
    assert run("consumers", "create", "cli-billing", "--filter", "gain").status == 2
    assert rows(run("consumers", "show", "cli-billing", "--json"))[0]["lag"]["events"] >= 3
    assert "cli-billing" in run("consumers", "list").out
    assert run("consumers", "seek", "cli-billing", "latest").out == "cli-billing goes on from latest\n"
    assert rows(run("consumers", "show", "cli-billing", "--json"))[0]["lag"]["events"] == 0
    assert rows(run("consumers", "seek", "cli-billing", "2h", "--json"))[0]["name"] == "cli-billing"
    assert run("consumers", "seek", "cli-billing", "soon").status == 6
    assert run("consumers", "delete", "cli-billing", "--yes").status == 0
    assert run("consumers", "show", "cli-billing").status == 5


def test_a_lane_that_stands_still_is_seen_retried_and_skipped(run: Run, receiver: list[int]) -> None:
    url = f"http://127.0.0.1:{receiver[1]}/"
    made = rows(run("endpoints", "create", url, "--type", "lane.*", "--order", "stream", "--feed-cursor", "--json"))[0]
    id = made["id"]
    assert (made["order"], made["feed_cursor"]) == ("stream", True)
    for _ in range(2):
        run("publish", "--stream", "call/lane_1", "--type", "lane.sent", "--data", "{}")
    eventually(lambda: rows(run("lanes", "list", "--stopped", "--json")), 30)
    (lane,) = rows(run("lanes", "list", id, "--json"))
    assert (lane["endpoint_id"], lane["head"]["seq"], lane["behind"]) == (id, 1, 1)
    shown = run("lanes", "show", id, "call/lane_1").out
    assert re.search(r"^behind +1$", shown, re.MULTILINE)
    assert run("lanes", "retry", id, "call/lane_1").out.endswith("(seq 1) to be attempted now\n")

    def skipped() -> bool:  # not while it is being sent
        return run("lanes", "skip", id, "call/lane_1").out.endswith("(seq 1) stepped aside; call/lane_1 goes on\n")

    eventually(skipped, 30)
    assert run("lanes", "show", id, "call/none").status == 5
    assert run("lanes", "list", "ep_01k00000000000000000000000").status == 5
    run("endpoints", "delete", id, "--yes")
    assert run("lanes", "list", "--stopped").err == "Nothing waits.\n"


def test_customers_and_keys_are_looked_at(run: Run, product: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("workspaces", "list").status == 4
    monkeypatch.setenv("TWOFOLD_API_KEY", product.platform_key)
    assert product.workspace_id in run("workspaces", "list", "--limit", "0").out
    assert run("workspaces", "show", product.workspace_id, "--json").status == 0
    (key, *_) = rows(run("keys", "list", "--workspace", product.workspace_id, "--json"))
    assert rows(run("keys", "show", key["id"], "--workspace", product.workspace_id, "--json")) == [key]
    shown = run("keys", "show", key["id"], "--workspace", product.workspace_id)
    assert re.search(rf"^prefix +{key['prefix']}$", shown.out, re.MULTILINE)
    ended = run("keys", "show", key["id"])  # of the platform there is none
    assert (ended.status, ended.out) == (5, "")
    monkeypatch.setenv("TWOFOLD_API_KEY", "pk_none")
    ended = run("keys", "list")
    assert ended.status == 4
    assert re.search(r"\(401, unauthorized, trace \w+\)\n$", ended.err)


def test_the_doctor_finds_a_running_product_well(
    run: Run, product: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY"):
        monkeypatch.setenv(name, product.env[name])
    found = rows(run("doctor", "--json"))
    assert {one["check"]: one["state"] for one in found if one["state"] not in ("ok", "warn")} == {}
    assert found[-1]["detail"].startswith("delivered (dlv_")
    assert [one["check"] for one in found][-3:] == ["server", "key", "test delivery"]


def test_the_doctor_says_how_to_mend_what_is_away(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("SECRET_KEY", "short")
    monkeypatch.setenv("TWOFOLD_URL", "http://127.0.0.1:1")
    ended = run("doctor")
    assert ended.status == 1
    assert re.findall(r"^(\w+) +(\w+)", ended.out, re.MULTILINE) == [
        ("fail", "settings"),
        ("fail", "database"),
        ("fail", "Redis"),
        ("fail", "server"),
    ]
    assert ended.out.count("→") == 4
