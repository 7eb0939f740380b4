"""Who gets a drain's places for transfers: nobody who hangs or has much waiting delays another.

Three lanes have places of their own, so that none can take another's: the fast one is for endpoints that answered their
last attempt, the new one for those of which that is not known, the slow one for those that fail, time out, or have left
a transfer unanswered for a second. An endpoint of the new or the slow lane has one place. In the new lane an unanswered
transfer frees its place after a second, moves to the account of old ones, and leaves half of what is left: so the first
attempts of unknown endpoints go on, however many hang.

In the fast lane an endpoint earns its places: it begins with one, and each success allows one more, up to twice as many
as it has had in flight and at most the setting. So a receiver that is far away soon has all it may have, and one with
an event now and then cannot begin to hang with many. What it has earned holds only while it answers: when nothing has
been answered for a few times as long as answers usually take, it gets no further place until something is. Endpoints
that begin to hang, however many at once, are thereby left with one place each and the few that they got in the first
tenth of a second; and a quarter of the lane is for endpoints that have just answered. How the free places are divided
is decided in app.core.webhook.shares: the emptiest first, and the last ones to nobody who has any.

A transfer that may kill its process travels alone: for a second, or until it ends, no other starts.

Pure: the caller passes the monotonic clock's reading, in seconds. The places belong to one process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from app.core.webhook.retry import Outcome
from app.core.webhook.shares import FREE_FOR_EACH, KEPT_PLACES, LANES, PROBES_AT_ONCE, Asker, Lane, Shares, share

# A transfer that hangs costs a socket and some memory, and no work. When a thousand endpoints begin to hang, each has
# its place, and as many are left for the others.
FAST_PLACES = 2048
# Of these, for endpoints that have not just answered. The others are left to those that answer, however many hang.
PROBE_PLACES = 1536
# Young ones, and with the old ones: enough to keep trying those that nobody knows.
NEW_PLACES = 64
NEW_PLACES_IN_ALL = 192
SLOW_PLACES = 64
MOST_IN_FLIGHT = FAST_PLACES + NEW_PLACES_IN_ALL + SLOW_PLACES
# A process needs so many open files at most: two for each place, because a connection may be tried over IPv4 and IPv6
# at once; and some for whatever else it has open, connections that wait to be used again included.
MOST_OPEN_FILES = 2 * MOST_IN_FLIGHT + 1024

# One failure is an accident; three in a row are an outage.
SLOW_AFTER_FAILURES = 3
# A receiver should answer a webhook at once; one that takes longer than this is slow, and may wait for others like it.
SLOW_AFTER_SECONDS = 1.0

# The most transfers to one endpoint at once, unless the setting says otherwise.
MAX_IN_FLIGHT = 32
# The largest value of the setting: alone an endpoint can have so many and leave two thirds of the fast lane.
MOST_MAX_IN_FLIGHT = 512
MIN_IN_FLIGHT = 1
# What is known of an endpoint is forgotten this long after its last transfer, and an answer is "just now" for as long.
FORGET_AFTER_SECONDS = 1.0
# An endpoint gets further places while the time since its last answer is at most so many times what its answers take.
# TCP waits for the mean and four deviations before it takes a silence for a loss (RFC 6298); this is simpler and close.
PATIENCE = 4.0
# However quick its answers are: a pause of a garbage collector or a packet sent twice is no reason to doubt.
LEAST_PATIENCE_SECONDS = 0.1
# How much the latest answer counts in what its answers usually take (RFC 6298).
_SMOOTHING = 1 / 8


def lane(consecutive_failures: int, last_outcome: Outcome | str | None) -> Lane:
    """Where an endpoint's deliveries run: a time-out blocks a place for the whole deadline, so one is enough."""
    if last_outcome == Outcome.TIMEOUT or consecutive_failures >= SLOW_AFTER_FAILURES:
        return "slow"
    return "fast" if last_outcome in (Outcome.SUCCESS, Outcome.HTTP_ERROR) else "new"


def resized(in_flight_limit: int, most: int, *, succeeded: bool) -> int:
    """The endpoint's next in-flight limit: one more after a success, if that is not over `most`, half after a failure.

    One for each success doubles it with each round trip, as TCP's slow start does.
    """
    if succeeded:
        return max(in_flight_limit, min(in_flight_limit + 1, most))
    return max(in_flight_limit // 2, MIN_IN_FLIGHT)


@dataclass(slots=True)
class Endpoint:
    """What this drain has in flight to one endpoint, and what came of the last transfers.

    most: the most that were in flight at once. old: how many are unanswered for a second or longer. served: the number
    of the last place given away that it got. answered: whether the last that ended was a success, and when.
    usual_seconds: what an answer usually takes. most_events: of its next batch, where it has accepted fewer than that.
    """

    limit: int = MIN_IN_FLIGHT
    in_flight: int = 0
    most: int = 0
    old: int = 0
    served: int = 0
    used_at: float = 0.0
    answered: bool = False
    answered_at: float = 0.0
    usual_seconds: float | None = None
    most_events: int | None = None


@dataclass(slots=True)
class _Transfer:
    endpoint_id: str
    lane: Lane
    started_at: float
    is_probe: bool
    batch_bytes: int
    old: bool = False


class Slots:
    """The places of one drain: which are taken, by whom, and since when."""

    def __init__(self, max_in_flight: int = MAX_IN_FLIGHT) -> None:
        """max_in_flight: the most transfers to one endpoint at once, 1 to MOST_MAX_IN_FLIGHT."""
        self._max_in_flight = max_in_flight
        self._transfers: dict[Hashable, _Transfer] = {}
        self._in_order: deque[Hashable] = deque()  # the young ones, in the order in which they started
        self._endpoints: dict[str, Endpoint] = {}
        self._young: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._old: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._alone: Hashable | None = None
        self._probes = 0  # transfers of the fast lane to endpoints that had not just answered
        self._started = 0
        self._now = 0.0
        self.batch_bytes = 0
        """The bodies of the batches in flight."""

    def start(
        self, key: Hashable, endpoint_id: str, lane: Lane, now: float, *, alone: bool = False, batch_bytes: int = 0
    ) -> None:
        """A transfer has started. key: unique among those in flight. alone: no other is to start beside it.
        batch_bytes: of its body, if it is a batch."""
        self._now = now
        self._started += 1
        is_probe = lane == "fast" and not self.answers(endpoint_id)
        self._transfers[key] = _Transfer(endpoint_id, lane, now, is_probe, batch_bytes)
        self.batch_bytes += batch_bytes
        self._probes += is_probe
        self._in_order.append(key)
        endpoint = self._endpoints.setdefault(endpoint_id, Endpoint())
        endpoint.in_flight += 1
        endpoint.most = max(endpoint.most, endpoint.in_flight)
        endpoint.served, endpoint.used_at = self._started, now
        self._young[lane] += 1
        if alone:
            self._alone = key

    def finish(self, key: Hashable, now: float, *, succeeded: bool) -> None:
        """A transfer has ended; its endpoint's limit grows or shrinks."""
        self._now = now
        transfer = self._transfers.pop(key)
        self.batch_bytes -= transfer.batch_bytes
        endpoint = self._endpoints[transfer.endpoint_id]
        endpoint.in_flight -= 1
        endpoint.old -= transfer.old
        self._probes -= transfer.is_probe
        endpoint.limit = resized(endpoint.limit, min(2 * endpoint.most, self._max_in_flight), succeeded=succeeded)
        endpoint.used_at, endpoint.answered = now, succeeded
        if succeeded:
            endpoint.answered_at = now
            seconds, usual = now - transfer.started_at, endpoint.usual_seconds
            endpoint.usual_seconds = seconds if usual is None else usual + (seconds - usual) * _SMOOTHING
        (self._old if transfer.old else self._young)[transfer.lane] -= 1
        if self._alone == key:
            self._alone = None

    def accepted(self, endpoint_id: str, events: int, sent: int) -> None:
        """An endpoint with a transfer has accepted the first `events` of a batch. Where that is not all, its next one
        has twice as many; each that is accepted whole doubles that, until so many are not sent any more."""
        endpoint = self._endpoints[endpoint_id]
        if 0 < events < sent:
            endpoint.most_events = 2 * events
        elif events and endpoint.most_events is not None:
            endpoint.most_events = 2 * endpoint.most_events if sent >= endpoint.most_events else None

    def most_events(self, endpoint_id: str) -> int | None:
        """How many events the next batch of an endpoint may have; None: no bound but its own."""
        endpoint = self._endpoints.get(endpoint_id)
        return None if endpoint is None else endpoint.most_events

    def advance(self, now: float) -> None:
        """Let time pass: transfers grow old, and idle endpoints are forgotten."""
        self._now = now
        while self._in_order:
            key = self._in_order[0]
            transfer = self._transfers.get(key)
            if transfer is not None:
                if now - transfer.started_at < SLOW_AFTER_SECONDS:
                    break
                transfer.old = True
                self._endpoints[transfer.endpoint_id].old += 1
                self._young[transfer.lane] -= 1
                self._old[transfer.lane] += 1
                if self._alone == key:
                    self._alone = None
            self._in_order.popleft()
        idle = [
            endpoint_id
            for endpoint_id, endpoint in self._endpoints.items()
            if not endpoint.in_flight and now - endpoint.used_at > FORGET_AFTER_SECONDS
        ]
        for endpoint_id in idle:
            del self._endpoints[endpoint_id]

    @property
    def in_flight(self) -> int:
        """Transfers that have started and not ended."""
        return len(self._transfers)

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """What is known of the endpoints that have transfers in flight, or had one a moment ago. Not to be changed."""
        return self._endpoints

    @property
    def is_closed(self) -> bool:
        """Whether no transfer may start, because one travels alone."""
        return self._alone is not None

    def free(self, lane: Lane) -> int:
        """How many transfers may start now in a lane."""
        if self.is_closed:
            return 0
        young, old = self._young[lane], self._old[lane]
        if lane == "new":
            # Half of what the old ones leave, rounded up, because all that start now may hang, too.
            return max(0, min(NEW_PLACES, (NEW_PLACES_IN_ALL - old + 1) // 2) - young)
        return max(0, (FAST_PLACES if lane == "fast" else SLOW_PLACES) - young - old)

    def room(self, endpoint_id: str, lane: Lane) -> int:
        """How many more transfers one endpoint of a lane may have."""
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return MIN_IN_FLIGHT
        limit = min(endpoint.limit, self._max_in_flight) if lane == "fast" and self._is_prompt(endpoint) else 1
        return max(0, limit - endpoint.in_flight)

    def hangs(self, endpoint_id: str) -> bool:
        """Whether a transfer to the endpoint has been unanswered for so long that it belongs to the slow lane."""
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint is not None and endpoint.old > 0

    def answers(self, endpoint_id: str) -> bool:
        """Whether the endpoint's last transfer that has ended, just now, was a success."""
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint is not None and endpoint.answered and self._now - endpoint.answered_at <= FORGET_AFTER_SECONDS

    @property
    def answering(self) -> list[str]:
        """The endpoints that answer. A claim that cannot look at all endpoints has to look at these."""
        return [endpoint_id for endpoint_id in self._endpoints if self.answers(endpoint_id)]

    def lane(self, endpoint_id: str, consecutive_failures: int, last_outcome: Outcome | str | None) -> Lane:
        """An endpoint's lane by what its row says, and by what this drain has seen since."""
        if self.hangs(endpoint_id):
            return "slow"
        known = lane(consecutive_failures, last_outcome)
        return "fast" if known == "new" and self.answers(endpoint_id) else known

    def asker(self, endpoint_id: str, lane: Lane) -> Asker:
        """What decides about an endpoint's share."""
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return Asker(endpoint_id, lane, MIN_IN_FLIGHT)
        room, answers = self.room(endpoint_id, lane), self.answers(endpoint_id)
        return Asker(endpoint_id, lane, room, endpoint.in_flight, answers, endpoint.served)

    def shares(self, lanes: Mapping[str, Lane], due: Mapping[str, int] | None = None) -> Shares:
        """Share the free places among endpoints that have something due.

        lanes: their lanes by their ids. due: how many rows they have due, where that is known; nobody gets more.
        """
        askers = [self.asker(endpoint_id, its_lane) for endpoint_id, its_lane in lanes.items()]
        if due:
            askers = [asker._replace(room=min(asker.room, due.get(asker.endpoint_id, asker.room))) for asker in askers]
        return share(askers, {each: self.free(each) for each in LANES}, PROBE_PLACES - self._probes)

    def ample(self, lane: Lane) -> int:
        """How many rows may be taken in a lane without sharing: as long as the rooms of all who ask come to no more
        than this together, `shares` gives each of them all of its room."""
        places = self.free(lane)
        if lane == "fast":
            places = min(places - KEPT_PLACES - FREE_FOR_EACH * self._max_in_flight, PROBE_PLACES - self._probes)
        return max(0, min(places, PROBES_AT_ONCE[lane]))

    def _is_prompt(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint's last answer came so recently that others may be expected."""
        if not endpoint.answered or endpoint.usual_seconds is None:
            return False
        patience = min(max(PATIENCE * endpoint.usual_seconds, LEAST_PATIENCE_SECONDS), FORGET_AFTER_SECONDS)
        return self._now - endpoint.answered_at <= patience
