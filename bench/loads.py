"""The loads, as data: what is done to whom, and how much of it in each form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from bench import counted, fair, fanout, feed, lanes, limits, log, single, strain
from bench.stage import Result, Stage

FORMS = ("smoke", "short", "full")
ROUNDS = {"smoke": 1, "short": 3, "full": 3}
Sizes = Mapping[str, float]
Several = tuple[float, float, float]  # one for each form


@dataclass(frozen=True)
class Load:
    """One load. sizes: a figure for all forms, or one for each; once: too long for every round of the short form."""

    name: str
    what: str
    run: Callable[[Stage, str, Sizes], Result]
    contenders: tuple[str, ...]
    sizes: Mapping[str, float | Several] = field(default_factory=dict)
    once: bool = False

    def sizes_of(self, form: str) -> dict[str, float]:
        """The sizes in one form."""
        place = FORMS.index(form)
        return {name: size[place] if isinstance(size, tuple) else size for name, size in self.sizes.items()}

    def rounds(self, form: str) -> int:
        """How often it is done."""
        return 1 if self.once and form != "full" else ROUNDS[form]


BOTH = ("twofold", "plain")
US = ("twofold",)

LOADS = (
    Load("bare", "bare Flask routes; one committed INSERT", single.bare, ("bare",), {"seconds": (0.5, 3, 20)}),
    Load("alone-10", "10 single POSTs/s", single.alone, BOTH, {"rate": 10, "seconds": (1, 6, 60)}),
    Load("alone-50", "50 single POSTs/s", single.alone, BOTH, {"rate": 50, "seconds": (1, 5, 60)}),
    Load("alone-200", "200 single POSTs/s", single.alone, BOTH, {"rate": 200, "seconds": (1, 5, 60)}),
    Load("watched-200", "200 POSTs/s with viewers", single.watched, US, {"rate": 200, "seconds": (1, 4, 60)}),
    Load("crowd-16", "closed loop of 16", single.crowd, BOTH, {"connections": 16, "seconds": (0.5, 4, 60)}),
    Load("crowd-64", "closed loop of 64", single.crowd, BOTH, {"connections": 64, "seconds": (0.5, 4, 60)}),
    Load("ndjson", "NDJSON of 500, delivered", single.lines, US, {"seconds": (0.3, 3, 60)}),
    Load("read", "GET of a stream, of a delivery", single.read, BOTH, {"seconds": (0.3, 2, 20)}),
    Load("accept", "closed loop of 64, no endpoint", single.accept, BOTH, {"seconds": (0.5, 3, 60)}),
    Load("idle", "nothing happens", single.idle, US, {"seconds": (1, 15, 60)}, once=True),
    Load("statements", "round trips and statements", counted.statements, US, {"seconds": (1, 4, 20)}, once=True),
    Load("headroom", "load generator and a server in C", counted.headroom, ("c",), {"seconds": (0.3, 2, 10)},
         once=True),
    Load("limits", "physical limits", limits.limits, ("c",), {"count": (50, 500, 5000)}, once=True),
    Load("fan-sse", "1 stream × 1,000 SSE", fanout.one_stream, ("twofold", "nchan", "plain"),
         {"viewers": (50, 1000, 1000), "seconds": (0.3, 1, 5)}),
    Load("fan-ws", "1 stream × 1,000 WebSockets", fanout.websockets, US,
         {"viewers": (50, 1000, 1000), "seconds": (0.3, 1, 5)}),
    Load("fan-streams", "1,000 streams × 1 SSE, from the bus", fanout.many_streams, US,
         {"viewers": (50, 1000, 1000), "first": (1000, 8000, 8000), "seconds": (0.3, 2, 5)}),
    Load("connections", "10,000 idle, then an event to each", fanout.connections, US,
         {"viewers": (100, 10_000, 10_000), "seconds": (1, 10, 60)}, once=True),
    Load("fair-one", "one endpoint hangs", fair.one_hangs, US, {"due": (100, 6_000, 100_000), "seconds": (1, 6, 100)}),
    Load("fair-many", "1,000 endpoints hang at once", fair.many_hang, US,
         {"endpoints": (5, 200, 1000), "seconds": (1, 6, 60)}),
    Load("fair-tenant", "a tenant with 2,000 events/s", fair.big_tenant, US,
         {"rate": (200, 2000, 2000), "seconds": (1, 5, 60)}),
    Load("growth", "tables that grow", strain.growth, US,
         {"rows": (1_000, 40_000, 10_000_000), "seconds": (0.3, 3, 60), "endpoints": (5, 100, 1000)}, once=True),
    Load("snapshot", "a held snapshot at 500 deliveries/s", strain.held_snapshot, US,
         {"rate": (100, 500, 500), "seconds": (1, 30, 600)}, once=True),
    Load("recovery", "100,000 due at once", strain.recovery, US,
         {"due": (500, 15_000, 100_000), "seconds": (1, 4, 20)}, once=True),
    Load("lanes", "a backlog of 1,000 streams, in order and not", lanes.in_order, ("ordered", "unordered"),
         {"due": (500, 10_000, 100_000), "streams": (50, 1000, 1000)}),
    Load("lane-blocked", "an endpoint in order, one of whose lanes is blocked", lanes.blocked_lane, US,
         {"rate": (50, 100, 100), "seconds": (0.5, 4, 30)}),
    Load("lane-claims", "claims at 200 lanes, half of them blocked", lanes.claims, US,
         {"lanes": (20, 200, 200), "rows": (25, 250, 1000), "times": (5, 100, 500)}, once=True),
    Load("unordered", "a backlog without order, before there were lanes and since", lanes.unordered,
         ("twofold", "before"), {"due": (500, 10_000, 100_000), "streams": (50, 1000, 1000)}),
    Load("feed", "the feed, while commits are slow and its ticker is killed each 10 s", feed.trial, US,
         {"rate": 100, "seconds": (4, 40, 600), "every": (1.5, 10, 10), "foreign": (2, 15, 60)}, once=True),
    Load("feed-accept", "closed loop of 64, the feed read and not", feed.accepting, US, {"seconds": (0.3, 2, 15)}),
    Load("log", "every filter of a long delivery log, and each two", log.long_log, US,
         {"attempts": (1_000, 50_000, 1_000_000), "times": (1, 1, 20)}, once=True),
)  # fmt: skip
