"""Spans from accept to attempt: in which trace, with which parents, and nothing where no collector is named."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import requests
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app import tracing
from app.core.event import drafts
from app.core.event.acceptance import Accepted
from app.core.problem import Problem
from app.core.webhook.retry import Outcome
from app.core.wire import envelope, trace
from app.delivery.attempt_spans import ATTEMPT, CLAIM, add_spans
from app.delivery.attempts import Exchange
from app.delivery.claims import Claimed, EndpointAddress
from app.tracing import Tracing
from app.web.accept_spans import ACCEPT, COMMIT, around
from tests.conftest import StartServer
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.processes import environment, eventually

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
NOW = datetime(2026, 11, 20, 10, 0, 0, 123000, UTC)
COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def made(exporter: InMemorySpanExporter) -> Tracing:
    return Tracing("twofold-test", {}, SimpleSpanProcessor(exporter))


def draft(traceparent: str) -> drafts.Draft:
    raw = b'{"stream": {"kind": "call", "id": "call_1"}, "type": "call.started", "data": {}}'
    return drafts.with_trace(drafts.read_event(raw, 1000, 10), traceparent or None)


def accepted(one: drafts.Draft) -> Accepted:
    return Accepted("evt_1", 1, one.kind, one.stream_id, one.type, NOW, NOW, False)


def ids(spans: Sequence[ReadableSpan]) -> list[tuple[str, str, str | None]]:
    """Name, trace and parent of each."""
    return [
        (span.name, f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}" if span.parent else None)
        for span in spans
    ]


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        (COLLECTOR | {"OTEL_SDK_DISABLED": "true"}, False),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": "none"}, False),
        (COLLECTOR | {"OTEL_TRACES_EXPORTER": "console, otlp"}, True),
    ],
)
def test_the_standard_variables_switch_it_on_and_off(environ: dict[str, str], wanted: bool) -> None:
    assert tracing.is_wanted(environ) is wanted


def test_where_no_collector_is_named_nothing_that_makes_spans_is_imported() -> None:
    """redis-py looks for OpenTelemetry's metrics by itself, and imports them where they are installed."""
    code = (
        "import os, sys, app.web.application, workers.drains, app.tracing\n"
        "assert app.tracing.start(os.environ, 'x') is None\n"
        "makes_spans = ('opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(makes_spans)])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment({}), capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("changed", "packages", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, tracing.PACKAGES, "speaks http/protobuf"),
        ({}, ("opentelemetry.not_there",), "pip install 'twofold-server[otel]'"),
        ({}, ("not_there.at_all",), "pip install 'twofold-server[otel]'"),
    ],
)
def test_what_cannot_be_used_is_said_and_stops_nothing(
    changed: dict[str, str],
    packages: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tracing, "PACKAGES", packages)
    assert tracing.start(COLLECTOR | changed, "x") is None
    assert said in caplog.text


def test_accepting_and_committing_are_spans_of_the_producers_trace(
    made: Tracing, exporter: InMemorySpanExporter
) -> None:
    began = time.time_ns() - 1_000_000
    with around(made, "ws_1", [draft(SAMPLED)], began) as traced:
        traced.answers = [accepted(one) for one in traced.drafts]
    assert traced.drafts[0].traceparent == SAMPLED  # it is kept as it came
    commit, accept = exporter.get_finished_spans()
    assert ids([accept]) == [(ACCEPT, TRACE, PARENT)]
    assert ids([commit]) == [(COMMIT, TRACE, f"{accept.context.span_id:016x}")]
    assert accept.start_time == began
    assert accept.attributes is not None
    assert accept.attributes["twofold.event.id"] == "evt_1"
    assert accept.status.is_unset
    assert accept.resource.attributes["service.name"] == "twofold-test"


def test_events_without_a_trace_begin_one_that_their_deliveries_belong_to(
    made: Tracing, exporter: InMemorySpanExporter
) -> None:
    with around(made, "ws_1", [draft(""), draft(SAMPLED), draft("")], time.time_ns()) as traced:
        traced.answers = [accepted(one) for one in traced.drafts]
    roots = [span for span in exporter.get_finished_spans() if span.parent is None]
    assert [span.name for span in roots] == [ACCEPT]
    own = f"00-{roots[0].context.trace_id:032x}-{roots[0].context.span_id:016x}-01"
    assert [one.traceparent for one in traced.drafts] == [own, SAMPLED, own]
    assert sorted(name for name, _, _ in ids(exporter.get_finished_spans())) == [ACCEPT, ACCEPT, COMMIT, COMMIT]


def test_who_does_not_sample_has_no_spans(made: Tracing, exporter: InMemorySpanExporter) -> None:
    with around(made, "ws_1", [draft(UNSAMPLED)], time.time_ns()) as traced:
        traced.answers = [accepted(one) for one in traced.drafts]
    add_spans(made, exchange(UNSAMPLED))
    add_spans(made, exchange(""))
    assert exporter.get_finished_spans() == ()


def test_the_sampler_of_the_environment_decides_about_new_traces(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    made = Tracing("twofold-test", {}, SimpleSpanProcessor(exporter))
    with around(made, "ws_1", [draft("")], time.time_ns()) as traced:
        traced.answers = [accepted(one) for one in traced.drafts]
    assert traced.drafts[0].traceparent == ""
    assert exporter.get_finished_spans() == ()


def test_a_refusal_is_an_error_of_its_spans(made: Tracing, exporter: InMemorySpanExporter) -> None:
    with pytest.raises(Problem), around(made, "ws_1", [draft(SAMPLED)], time.time_ns()):
        raise Problem("unavailable", "not now")
    assert [span.status.description for span in exporter.get_finished_spans()] == ["unavailable"] * 2


def exchange(traceparent: str, outcome: Outcome = Outcome.SUCCESS, status: int | None = 200) -> Exchange:
    body = envelope.encode(
        id="evt_1",
        type="call.started",
        timestamp="2026-11-20T10:00:00.123Z",
        workspace_id="ws_1",
        kind="call",
        stream_id="call_1",
        seq=1,
        data="{}",
        traceparent=traceparent,
    )
    address = EndpointAddress("https://user:secret@hooks.example.com/path?key=secret", None, [])
    claimed = Claimed(
        id="dlv_1",
        created_at=NOW,
        workspace_id="ws_1",
        endpoint_id="ep_1",
        event_id="evt_1",
        lease_token="",
        lane="fast",
        claimed_at=NOW,
        trigger="schedule",
        window_started_at=NOW,
        window_attempts=0,
        deadline_at=NOW + timedelta(days=1),
        address=address,
        body=body,
    )
    started = NOW + timedelta(milliseconds=5)
    return Exchange(claimed, outcome, status, None, None, (), b"", None, started, 0.25)


def test_an_attempt_is_the_span_that_its_request_has_named(made: Tracing, exporter: InMemorySpanExporter) -> None:
    sent = exchange(SAMPLED)
    add_spans(made, sent)
    claim, attempt = exporter.get_finished_spans()
    assert ids([claim, attempt]) == [(CLAIM, TRACE, PARENT), (ATTEMPT, TRACE, PARENT)]
    assert f"{attempt.context.span_id:016x}" == trace.child(SAMPLED, "dlv_1", sent.started_at).split("-")[2]
    assert claim.start_time == round(NOW.timestamp() * 1e3) * 1_000_000
    assert claim.end_time == attempt.start_time == claim.start_time + 5_000_000
    assert attempt.end_time == attempt.start_time + 250_000_000
    assert attempt.attributes is not None
    assert attempt.attributes["server.address"] == "hooks.example.com"
    assert "secret" not in attempt.to_json()


def test_a_failed_attempt_says_how(made: Tracing, exporter: InMemorySpanExporter) -> None:
    add_spans(made, replace(exchange(SAMPLED, Outcome.TIMEOUT, None), error="no answer within 15 s"))
    attempt = exporter.get_finished_spans()[1]
    assert attempt.status.description == "no answer within 15 s"
    assert attempt.attributes is not None
    assert attempt.attributes["error.type"] == "timeout"


def test_a_collector_that_is_silent_holds_up_no_end() -> None:
    over = threading.Event()

    class Silent(SimpleSpanProcessor):
        def shutdown(self) -> None:
            over.wait(30)

    made = Tracing("twofold-test", {}, Silent(InMemorySpanExporter()))
    made.closing_seconds = 0.05
    began = time.monotonic()
    made.close()
    over.set()
    assert time.monotonic() - began < 5


def test_a_collector_gets_the_whole_way_of_an_event(start_server: StartServer) -> None:
    """With a real POST. Nothing is sent before the processes end: what they have left goes out then."""
    with ScriptedServer(answering(OK)) as collector, ScriptedServer(answering(OK)) as receiver:
        otel = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        server = start_server(worker=True, **otel)
        post(server.base_url, server.headers, "/v1/endpoints", {"url": receiver.url})
        event = {"stream": {"kind": "call", "id": "call_1"}, "type": "call.started", "data": {}}
        post(server.base_url, server.headers, "/v1/events", event)
        eventually(lambda: receiver.seen)
        server.stop()
        spans = {}
        for seen in collector.seen:
            assert seen.head[0] == "POST /v1/traces HTTP/1.1"
            for of_process in ExportTraceServiceRequest.FromString(seen.body).resource_spans:
                (service,) = [
                    one.value.string_value for one in of_process.resource.attributes if one.key == "service.name"
                ]
                for span in of_process.scope_spans[0].spans:
                    spans[span.name] = (service, span)
    assert {name: service for name, (service, _) in spans.items()} == {
        ACCEPT: "twofold-web",
        COMMIT: "twofold-web",
        CLAIM: "twofold-worker",
        ATTEMPT: "twofold-worker",
    }
    root, attempt = spans[ACCEPT][1], spans[ATTEMPT][1]
    assert {span.trace_id for _, span in spans.values()} == {root.trace_id}
    assert {span.parent_span_id for _, span in spans.values()} == {b"", root.span_id}
    sent = receiver.seen[0].header("traceparent")
    assert sent == f"00-{root.trace_id.hex()}-{attempt.span_id.hex()}-01"


def post(base_url: str, headers: dict[str, str], path: str, body: object) -> None:
    requests.post(f"{base_url}{path}", json=body, headers=headers, timeout=10).raise_for_status()
