"""Spans for a collector of OpenTelemetry, where the standard OTEL_* variables name one and the extra is installed.

Nothing else of the product imports opentelemetry, and this module does so only in start(): a process without a
collector pays for neither. Spans are made after the fact, with the times that were measured anyway, and sent by a
thread of the SDK in batches; what a collector does not take is dropped, and nobody waits for it.
"""

from __future__ import annotations

import atexit
import importlib.util
import logging
import threading
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from app.core.wire import trace

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span

log = logging.getLogger(__name__)

# What names a collector: without one of them nothing is exported. (The SDK's own default, localhost, is meant for
# programs whose only way to switch it on is to be instrumented.)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"  # of the exporter that the extra brings
PACKAGES = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
INSTALL = "pip install 'twofold-server[otel]'"
# A process that ends waits so long for its last spans: a collector that is silent must not keep a restart waiting.
CLOSING_SECONDS = 2.0

Kind = Literal["server", "internal", "client"]


@dataclass(frozen=True, slots=True)
class Times:
    """When something began and ended, in nanoseconds since 1970."""

    began: int
    ended: int


class Tracing:
    """Makes spans in traces that are named by a traceparent (app.core.wire.trace)."""

    def __init__(self, service: str, environ: Mapping[str, str], processor: SpanProcessor) -> None:
        """service: the name under which spans are shown, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says
        otherwise. processor: takes them when they have ended."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if named else {"service.name": service})
        self._ids = _ids()
        self._provider: TracerProvider = TracerProvider(
            id_generator=self._ids, resource=resource, shutdown_on_exit=False
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("twofold")
        self.closing_seconds = CLOSING_SECONDS

    def begin(self, name: str, kind: Kind, traceparent: str, began: int, own: str = "") -> Span:
        """A span below `traceparent`, or the first of a new trace for "". began: nanoseconds since 1970. own: a
        traceparent that the span was given on its way out, so that what lies below that lies below the span."""
        from opentelemetry.trace import SpanKind

        self._ids.next_span = int(own.split("-")[2], 16) if own else 0
        return self._tracer.start_span(
            name, context=_context(traceparent), kind=SpanKind[kind.upper()], start_time=began
        )

    def add(
        self,
        name: str,
        kind: Kind,
        traceparent: str,
        times: Times,
        attributes: Mapping[str, Any],
        *,
        error: str | None = None,
        own: str = "",
    ) -> None:
        """A span that has ended. error: what went wrong, None if nothing did. The others as in begin()."""
        end(self.begin(name, kind, traceparent, times.began, own), times.ended, attributes, error)

    def close(self) -> None:
        """Send what is left, for `closing_seconds` at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(self.closing_seconds)


def start(environ: MutableMapping[str, str], service: str) -> Tracing | None:
    """This process's tracing, None when no collector is named. After a fork: it has a thread. A collector that cannot
    be used is said in the log, and keeps nothing from starting."""
    if not is_wanted(environ):
        return None
    reason = _why_not(environ)
    if reason is None:
        try:
            tracing = Tracing(service, environ, _exporting())
        except Exception as error:  # whatever is wrong with a variable of the SDK
            reason = str(error)
        else:
            atexit.register(tracing.close)
            return tracing
    log.warning("OpenTelemetry: no spans are exported: %s", reason)
    return None


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether the environment names a collector, and nothing in it switches traces off."""
    off = environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    exporters = {one.strip() for one in (environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")}
    return not off and "otlp" in exporters and any(environ.get(name) for name in ENDPOINTS)


def end(span: Span, ended: int, attributes: Mapping[str, Any], error: str | None = None) -> None:
    """End a span. ended: nanoseconds since 1970. error: what went wrong, None if nothing did."""
    from opentelemetry.trace import Status, StatusCode

    if span.is_recording():
        span.set_attributes({name: value for name, value in attributes.items() if value is not None})
        if error is not None:
            span.set_status(Status(StatusCode.ERROR, error))
    span.end(ended)


def traceparent_of(span: Span) -> str:
    """The span as a traceparent; "" for one that is not exported: what lies below it would hang in the air."""
    context = span.get_span_context()
    if not span.is_recording():
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & trace.SAMPLED:02x}"


def _why_not(environ: Mapping[str, str]) -> str | None:
    """Why the collector that is named cannot be used."""
    for name in PROTOCOLS:
        if environ.get(name, PROTOCOL) not in ("", PROTOCOL):
            return f"{name} is {environ[name]}; this exporter speaks {PROTOCOL}, for which collectors listen at :4318"
    try:
        missing = any(importlib.util.find_spec(name) is None for name in PACKAGES)
    except ModuleNotFoundError:
        missing = True
    return f"the packages are not installed: {INSTALL}" if missing else None


def _exporting() -> SpanProcessor:
    """Sends spans over HTTP, as the OTEL_* variables say."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


def _ids() -> Any:
    """Ids at random, but for a span that has been given its own."""
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        next_span = 0

        def generate_span_id(self) -> int:
            given, self.next_span = self.next_span, 0
            return given or super().generate_span_id()

    return Ids()


def _context(traceparent: str) -> Context:
    """Below the traceparent, which is as app.core.wire.trace.read gives it; "" is below nothing."""
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    if not traceparent:
        return Context()
    _, trace_id, parent, flags = traceparent.split("-")
    above = SpanContext(int(trace_id, 16), int(parent, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(above), Context())
