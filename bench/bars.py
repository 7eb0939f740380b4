"""The bars, as data."""

from __future__ import annotations

from bench.figures import B, Bar

# What a POST must at least cost on this machine, both p95: Flask's answer and one committed INSERT.
SUM = ("bare/bare/bare_p95", "bare/bare/insert_p95")


def _cost(load: str, limit: float, today: str = "") -> Bar:
    return Bar(load, "CPU an event, all processes", f"{load}/twofold/cpu", (B,), limit, True, "B", today)


BARS = (
    _cost("alone-10", 30, "106"),
    _cost("alone-50", 25, "84"),
    _cost("alone-200", 18, "46"),
    Bar("alone-200", "POST → webhook, p95, over bare route + INSERT", "alone-200/twofold/webhook_p95", SUM, 4, True,
        today="44 / 69 ms"),
    Bar("alone-200", "POST → answer, p95, over the same", "alone-200/twofold/post_p95", SUM, 3, True, today="59 ms"),
    Bar("watched-200", "POST → SSE frame, p95, over the same", "watched-200/twofold/frame_p95", SUM, 4, True),
    Bar("crowd-16", "events/s, over plain", "crowd-16/twofold/rate", ("crowd-16/plain/rate",), 6, False,
        today="310/s"),
    Bar("crowd-64", "events/s, over plain", "crowd-64/twofold/rate", ("crowd-64/plain/rate",), 6, False,
        today="650/s"),
    _cost("crowd-16", 7),
    _cost("crowd-64", 7, "14"),
    _cost("ndjson", 2.5, "3.5"),
    Bar("ndjson", "events/s, over single POSTs", "ndjson/twofold/rate", ("crowd-64/twofold/rate",), 3, False,
        today="2,606/s"),
    Bar("read", "CPU of a GET of a stream", "read/twofold/stream_cpu", (B,), 4, True, "B", "14"),
    Bar("read", "CPU of a GET of a delivery", "read/twofold/delivery_cpu", (B,), 4, True, "B", "14"),
    Bar("accept", "POSTs/s, over a route that parses and answers", "accept/twofold/rate", ("bare/bare/parse_rate",),
        0.6, False),
    Bar("idle", "share of a core, percent", "idle/twofold/cpu", (), 2, True, "%", "1"),
)  # fmt: skip
