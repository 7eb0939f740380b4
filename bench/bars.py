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
    Bar("fan-sse", "frames/s of one process, over nchan", "fan-sse/twofold/rate", ("fan-sse/nchan/rate",), 10, False,
        today="12.7 ×"),
    Bar("fan-streams", "events/s of one process, from the bus", "fan-streams/twofold/rate", (), 15_000, False, "/s"),
    Bar("fan-ws", "frames/s, over SSE", "fan-ws/twofold/rate", ("fan-sse/twofold/rate",), 0.5, False),
    Bar("connections", "memory of an idle connection, kernel included", "connections/twofold/kib_each", (), 15, True,
        "KiB", "22"),
    Bar("connections", "CPU of an idle connection, µs each second", "connections/twofold/idle_us_each_second", (), 2,
        True, "µs/s", "4.7"),
    Bar("connections", "one event to each: all within", "connections/twofold/all_reached_seconds", (), 1, True, "s"),
    *(
        Bar(load, "healthy webhook's p99, over its unloaded p99", f"{load}/twofold/loaded_webhook_p99",
            (f"{load}/twofold/unloaded_webhook_p99",), 2, True, today=today)
        for load, today in (("fair-one", ""), ("fair-many", "15 s"), ("fair-tenant", ""))
    ),
    Bar("fair-tenant", "healthy POST's p99, over its unloaded p99", "fair-tenant/twofold/loaded_post_p99",
        ("fair-tenant/twofold/unloaded_post_p99",), 2, True),
    Bar("growth", "events/s with all rows, over the empty database's", "growth/twofold/rate_full",
        ("growth/twofold/rate_empty",), 0.9, False),
    Bar("growth", "first frame of a resume from far back", "growth/twofold/resume_ms", (), 50, True, "ms"),
    Bar("growth", "CPU of a delivery where many match, over one", "growth/twofold/delivery_cpu_match_many",
        ("growth/twofold/delivery_cpu_match_one",), 1, True),
    Bar("snapshot", "deliveries/s, over those without", "snapshot/twofold/held_rate",
        ("snapshot/twofold/free_rate",), 0.9, False),
    Bar("snapshot", "webhook's p99, over that without", "snapshot/twofold/held_webhook_p99",
        ("snapshot/twofold/free_webhook_p99",), 2, True),
    Bar("recovery", "deliveries/s, over those of NDJSON", "recovery/twofold/rate", ("ndjson/twofold/rate",), 0.8,
        False),
    Bar("recovery", "live frame's p99, over that without", "recovery/twofold/busy_frame_p99",
        ("recovery/twofold/free_frame_p99",), 2, True),
    Bar("lanes", "deliveries/s of 1,000 lanes, over those without order", "lanes/ordered/rate",
        ("lanes/unordered/rate",), 0.7, False),
    Bar("lane-blocked", "others' webhook p99, over that where no lane is blocked",
        "lane-blocked/twofold/blocked_webhook_p99", ("lane-blocked/twofold/free_webhook_p99",), 1.1, True),
    Bar("lane-claims", "a claim, p95", "lane-claims/twofold/claim_p95", (), 10, True, "ms"),
    Bar("lane-claims", "the slowest claim", "lane-claims/twofold/claim_max", (), 10, True, "ms"),
    Bar("unordered", "deliveries/s, over those before there were lanes", "unordered/twofold/rate",
        ("unordered/before/rate",), 0.95, False),
    Bar("unordered", "CPU of a delivery, over that before there were lanes", "unordered/twofold/cpu",
        ("unordered/before/cpu",), 1.05, True),
    Bar("feed", "events that a reader has missed", "feed/twofold/missed", (), 0, True, ""),
    Bar("feed", "events that came out of order", "feed/twofold/out_of_order", (), 0, True, ""),
    Bar("feed", "commit → frame, p95", "feed/twofold/feed_p95", (), 50, True, "ms"),
    Bar("feed-accept", "POSTs/s while the feed is read, over while it is not", "feed-accept/twofold/read_rate",
        ("feed-accept/twofold/unread_rate",), 0.9, False),
    Bar("log", "a page of the delivery log, one or two filters, p95", "log/twofold/answer_p95", (), 100, True, "ms"),
    Bar("log", "the slowest two filters, median", "log/twofold/slowest_question", (), 100, True, "ms"),
    Bar("idle", "share of a core", "idle/twofold/cpu", (), 2, True, "%", "1"),
    Bar("statements", "round trips to PostgreSQL an event, alone", "statements/twofold/round_trips_an_event_at_5", (),
        4, True, "", "30"),
)  # fmt: skip
