"""The drain: claims what is due, signs, sends and records, many deliveries at a time.

One drain lives in each worker process. A run goes in rounds: collect the results that have come, in one call of the
database record them and claim as many due rows as there are free places, then send those. It ends when nothing is due
and nothing is in flight, or when its turn is over.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app import failpoints
from app.core.problem import first_line
from app.core.webhook.fairness import Slots
from app.core.webhook.retry import Outcome
from app.database.connection import Database
from app.delivery import claims
from app.delivery.attempts import Exchange
from app.delivery.claims import Claim, Claimed, Claimer
from app.delivery.database_clock import DatabaseClock
from app.delivery.doorbell import Place
from app.delivery.endpoint_health import Gone, disable_failing, disable_gone
from app.delivery.outcomes import Recorded, RecordedAttempt
from app.delivery.round_calls import RoundCalls
from app.delivery.rounds import Calls, Crew, RoundStamp
from app.delivery.sending.sender import Sender
from app.delivery.sent_batches import SentBatch, accepted_of, exchanges_of, first_of, requests_of
from app.delivery.signer import Signer
from app.delivery.unnoted import Unnoted
from app.delivery.unrecorded import Unrecorded, is_rows_fault
from app.settings import MARGIN_SECONDS, Settings

log = logging.getLogger(__name__)

# A turn ends so that the worker's other tasks have theirs. After it, for as long as one transfer may take, only
# endpoints that answer are still served: transfers that hang reach their time-out meanwhile, and nobody else waits.
TURN_SECONDS = 20.0
# How often rows that have become due are looked for while transfers are in flight.
LOOK_SECONDS = 0.05
# How often a drain that waits at the doorbell looks without a ring: for what was not rung for, such as a retry.
STAND_SECONDS = 1.0
# How often another drain is called.
CALL_SECONDS = 1.0
# How long a drain that claims no more waits for deliveries that somebody else has locked, to record what came of them.
LOCKED_SECONDS = 5.0
# At the end of a turn, for how long rows that have to travel alone are begun, one after the other.
ALONE_SECONDS = 5.0

# Whom a round claims for: all endpoints, all but those that fail, only a row that has to travel alone, or none.
Phase = Literal["open", "closing", "alone", "closed"]


class Drain:
    """Delivers what is due. Belongs to one process and one thread, as its database connections and sender do."""

    def __init__(
        self,
        database: Database,
        sender: Sender,
        settings: Settings,
        wake: Calls,
        *,
        crew: Crew = "pool",
        stopping: Callable[[], bool] = lambda: False,
        place: Place | None = None,
        found_nothing: Callable[[], None] = lambda: None,
        tell: Callable[[Sequence[RecordedAttempt]], None] = lambda recorded: None,
        trace: Callable[[Exchange], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """database: made with claims.DATABASE_OPTIONS. crew: as which its rounds are stamped. stopping: whether to
        claim no more. place: at the doorbell, where to wait for what comes next; None: never. found_nothing: called
        before it waits there, when it has looked and nothing is due. tell: gets what has been recorded, after the
        commit, and nothing when nothing more has come for a while; must neither raise nor wait for long. trace: gets
        each exchange as soon as its result has come; must neither. clock: monotonic seconds."""
        self._database, self._sender, self._wake, self._tell = database, sender, wake, tell
        self._stopping, self._clock, self._found_nothing = stopping, clock, found_nothing
        self._place, self._trace = place or Place(), trace
        self._called_at = -math.inf
        self._closing_seconds = settings.send_total_seconds
        self._attempt_seconds = settings.send_total_seconds + MARGIN_SECONDS
        self._lease_seconds = settings.lease_seconds
        self._claimer = Claimer(lease_seconds=settings.lease_seconds)
        self._database_clock = DatabaseClock(clock)
        self._round_stamp = RoundStamp(crew)
        self._slots = Slots(settings.max_in_flight)
        self._unrecorded = Unrecorded(settings.retry_delays_seconds)
        self._calls = RoundCalls(
            database.direct(),
            self._unrecorded,
            self._database_clock,
            disable_after_seconds=settings.disable_after_seconds,
        )
        self._gone: dict[str, Gone] = {}  # they want no more, and are to be disabled when their rows are unlocked
        self._unnoted = Unnoted(database, clock)
        self._attempts_made = 0
        self._signer = Signer(settings.secret_keys)

    @property
    def in_flight(self) -> int:
        """Transfers whose results have not been collected."""
        return self._slots.in_flight

    @property
    def unrecorded(self) -> int:
        """Outcomes that the database does not have yet."""
        return len(self._unrecorded)

    def run(self, turn_seconds: float = TURN_SECONDS) -> int:
        """Deliver until nothing is due and nothing in flight, or the turn is over; the drain that waits at the doorbell
        goes on until the latter. Returns how many attempts were made.

        A database that cannot be used ends the run with a line in the log: what was claimed is due again when its
        lease ends, and outcomes that could not be recorded are kept for the next run.
        """
        before = self._attempts_made
        self._wake.answered()
        try:
            self._run(self._clock(), turn_seconds)
        except SQLAlchemyError as error:
            log.warning("deliveries pause, the database cannot be used: %s", first_line(error))
            self._give_up()
        finally:
            self._place.leave()
            self._tell(())
        return self._attempts_made - before

    def run_once(self, phase: Phase = "open", poll_seconds: float = 0.0) -> Claim:
        """One round. poll_seconds: the longest wait for the first result."""
        self.collect(poll_seconds)
        if self._unrecorded:
            failpoints.reach("drain.answered")
        self._disable_gone()
        claim, recorded = self._round(phase)
        if claim.rows:
            failpoints.reach("drain.claimed")
        for sent in requests_of(claim):  # at once: what is claimed and not sent is due again only when its lease ends
            self._send(sent)
        self._after(recorded)  # of what has been committed nothing may be forgotten because of what comes next
        if claim.hopeless:
            with self._database.begin() as connection:
                claims.fail(connection, claim.hopeless)
        claim.more |= self._claimer.ended.are_left and phase in ("open", "closing")
        return claim

    def collect(self, poll_seconds: float, *, resends: bool = True) -> None:
        """Fetch the results that have come, and free their places; the next round records them.
        poll_seconds: the longest wait for the first one. resends: whether requests may be sent again."""
        for result in self._sender.poll(poll_seconds, self._place.fileno()):
            sent, started_at = cast("tuple[Claimed | SentBatch, datetime]", result.key)
            exchanges = exchanges_of(sent, started_at, result)
            first = exchanges[0]
            again, resends = self._may_resend(first) if result.again and resends else (False, resends)
            if again:  # its connection is to blame: at once, over one of its own
                left = self._left_seconds(first.claimed, first.ended_at)
                self._sender.add(self._signer.request(sent, first.ended_at, left, own_connection=True))
                exchanges = [replace(exchange, resent=True) for exchange in exchanges]
            else:
                if first.batch is not None and not result.withheld:
                    self._slots.accepted(first.claimed.endpoint_id, accepted_of(exchanges), len(exchanges))
                self._slots.finish(sent, self._clock(), succeeded=first.outcome == Outcome.SUCCESS)
            if result.withheld:  # another may have sent it, and those behind it: there was no attempt
                continue
            for exchange in exchanges:
                self._keep(exchange)
        self._slots.advance(self._clock())

    def _run(self, started_at: float, turn_seconds: float) -> None:
        wait_seconds = 0.0
        locked_since: float | None = None
        phase: Phase = "open"
        while True:
            before, phase = phase, self._phase(self._clock() - started_at, turn_seconds)
            if phase != before:
                stood = self._place.leave()  # before the call: whoever is called finds it free
                wait_seconds = min(wait_seconds, LOOK_SECONDS)
                called = self._stopping() or self._wake.call()  # another drain, or this one after its other tasks
                if before == "open" and stood and not called:  # Redis is away: nobody would come
                    started_at, phase = self._clock(), "open"
            if phase == "open":
                self._place.take()  # before the look: a ring that comes later is another one
            elif phase == "closing":
                self._place.take_back()
            claim = self.run_once(phase, wait_seconds)
            wait_seconds = 0.0 if claim.rows and claim.more else self._look_seconds(claim)
            self._call_for_help(claim, phase)
            if self.in_flight or self._unrecorded.unlocked:
                continue
            if self.unrecorded:  # somebody has locked their deliveries
                locked_since = self._clock() if locked_since is None else locked_since
                if phase == "closed" and self._clock() - locked_since >= LOCKED_SECONDS:
                    log.warning("%d outcomes wait for deliveries that somebody has locked", self.unrecorded)
                    return
                time.sleep(LOOK_SECONDS)
                continue
            locked_since = None
            if self._gone and phase == "open":
                claim.wait_seconds = LOOK_SECONDS
            if phase != "open":
                if self._place.leave() and not self._stopping():  # it was taken back while transfers hung
                    self._wake.call()
                return self._send_alone()
            is_over = not (claim.more or claim.wait_seconds is not None)
            if is_over and claim.put_off_seconds is None and not self._place.is_taken:
                return
            if is_over and not claim.left and claim.put_off_seconds is None:
                self._found_nothing()
            ends_seconds = claim.put_off_seconds or STAND_SECONDS
            self._rest(ends_seconds if is_over else min(LOOK_SECONDS, claim.wait_seconds or LOOK_SECONDS))
            wait_seconds = 0.0

    def _rest(self, seconds: float) -> None:
        """With nothing in flight: until something may be due, at most so long."""
        if not self._place.wait(seconds) and self._place.is_taken:
            self._tell(())

    def _look_seconds(self, claim: Claim) -> float:
        """How long to wait for a result before the next look. Who hears the bell is told of what comes, and looks early
        only when something was left, for want of places, which may come back by themselves, or for the next claim.
        Outcomes that wait for nothing but their turn have it at once."""
        if self._unrecorded.unlocked:
            return 0.0
        if self._place.fileno() is not None and not (claim.left or claim.more):
            return min(STAND_SECONDS, claim.wait_seconds or STAND_SECONDS, claim.put_off_seconds or STAND_SECONDS)
        return LOOK_SECONDS

    def _call_for_help(self, claim: Claim, phase: Phase) -> None:
        """Call another drain, now and then, when there is more to do than this one can take."""
        if claim.left and phase == "open" and self._clock() - self._called_at >= CALL_SECONDS:
            self._called_at = self._clock()
            self._wake.call_another()

    def _send_alone(self) -> None:
        """At the end of a turn, with nothing in flight: the rows that have to travel alone, of which a drain that is
        always busy would have none otherwise. While one of them hangs, endpoints that answer are served."""
        ends_at = self._clock() + ALONE_SECONDS
        while self._clock() < ends_at and not self._stopping():
            claim = self.run_once("alone")
            if not claim.more:
                return
            while self.in_flight or self._unrecorded.unlocked:
                seconds = 0.0 if self._unrecorded.unlocked else LOOK_SECONDS
                over = self._stopping() or self._clock() >= ends_at + self._closing_seconds
                self.run_once("closed" if over or self._slots.is_closed else "closing", seconds)

    def _phase(self, elapsed_seconds: float, turn_seconds: float) -> Phase:
        if self._stopping() or elapsed_seconds >= turn_seconds + self._closing_seconds:
            return "closed"
        return "closing" if elapsed_seconds >= turn_seconds else "open"

    def _round(self, phase: Phase) -> tuple[Claim, Recorded]:
        """Record and claim in one call, or in two when the places have to be shared."""
        exchanges = self._unrecorded.next()
        if phase == "closed" and not exchanges:
            return Claim(), Recorded()
        asked = None if phase == "closed" or self._unrecorded.are_many else self._ask(phase)
        failpoints.reach("drain.commit")
        try:
            recorded, note, rows = self._calls.call(exchanges, asked)
        except DBAPIError as error:
            if not exchanges or not is_rows_fault(error):
                raise
            log.error("%d outcomes are recorded one by one: %s", len(exchanges), first_line(error))
            self._record_singly(exchanges)
            return Claim(more=True), Recorded()
        if asked is None:
            return Claim(), recorded
        claim, further = self._claimer.read(asked, note, rows, self._slots, self._clock())
        if further is not None:
            try:
                _, note, rows = self._calls.call([], further)
            except DBAPIError as error:  # what was recorded has its consequences, and the next round finds out
                log.warning("a claim was broken off: %s", first_line(error))
                return Claim(more=True), recorded
            taken, _ = self._claimer.read(further, note, rows, self._slots, self._clock())
            taken.more, taken.left = taken.more or claim.more, claim.left
            return taken, recorded
        return claim, recorded

    def _ask(self, phase: Phase) -> dict[str, Any]:
        now = self._clock()
        asked = self._claimer.ask(self._slots, now, fast_only=phase == "closing", suspicious_only=phase == "alone")
        stamp = self._round_stamp.due(now)
        return asked | stamp | self._claimer.written_down() if stamp else asked

    def _record_singly(self, exchanges: Sequence[Exchange]) -> None:
        """Record each in a call of its own, and drop those that the database refuses. Raises what a database that
        cannot be used raises; what is left is kept."""
        for exchange in exchanges:
            try:
                recorded, _, _ = self._calls.call([exchange], None)
            except DBAPIError as error:
                if not is_rows_fault(error):
                    raise
                log.error("an outcome of delivery %s cannot be recorded: %s", exchange.claimed.id, first_line(error))
                self._unrecorded.settle([exchange])
            else:
                self._after(recorded)

    def _after(self, recorded: Recorded) -> None:
        """What follows from recorded attempts: what was given up is noted, the log's watchers are told, and endpoints
        that are gone or have failed for too long are disabled, with what they have pending."""
        attempts = recorded.attempts
        self._unnoted.note([attempt.delivery_id for attempt in attempts if attempt.ended == "failed"])
        if attempts:
            self._tell(attempts)
        self._attempts_made += sum(not attempt.by_us for attempt in attempts)
        gone = [attempt for attempt in attempts if attempt.gone]
        for attempt in gone:
            last = self._gone.get(attempt.endpoint_id)
            if last is None or last.said_at < attempt.answered_at:
                self._gone[attempt.endpoint_id] = Gone(attempt.answered_at, attempt.by_header)
        self._claimer.ended.add(recorded.unwanted)
        if gone:
            self._disable_gone()
        if recorded.failing:
            with self._database.begin() as connection:
                self._claimer.ended.add(disable_failing(connection, recorded.failing))
        if self._claimer.ended.are_left:
            with self._database.begin() as connection:
                self._claimer.ended.cancel_some(connection)

    def _disable_gone(self) -> None:
        """Disable endpoints that want no more; those whose rows are locked are remembered."""
        if self._gone:
            with self._database.begin() as connection:
                disabled = disable_gone(connection, self._gone)
            self._gone = disabled.gone_but_locked
            self._claimer.ended.add(disabled.endpoint_ids)

    def _give_up(self) -> None:
        """The database cannot be used: let what is in flight end, try once more to record it, keep it if that fails.
        Over a new connection: after a fail-over the old one leads to a server that only reads."""
        self._place.leave()
        self._database.close()
        while self.in_flight:
            self.collect(LOOK_SECONDS, resends=False)
        try:
            while self._unrecorded:
                recorded = self._round("closed")[1]
                self._after(recorded)
                if recorded.locked:
                    break
        except SQLAlchemyError:
            log.warning("%d outcomes are kept until the database is back", self.unrecorded)

    def _keep(self, exchange: Exchange) -> None:
        self._unrecorded.add(exchange)
        if self._trace is not None:
            self._trace(exchange)

    def _may_resend(self, exchange: Exchange) -> tuple[bool, bool]:
        """Whether another attempt will have been recorded before the lease ends, and the endpoint's rate limit allows
        it; if not, or if this worker is to stop, the schedule has it. And whether it is worth asking for others."""
        if self._stopping() or self._left_seconds(exchange.claimed, exchange.ended_at) < self._attempt_seconds:
            return False, True
        try:
            return self._calls.may_start(exchange.claimed.endpoint_id), True
        except DBAPIError as error:
            log.warning("a request is left to the schedule, the database cannot be used: %s", first_line(error))
            return False, False

    def _left_seconds(self, claimed: Claimed, now: datetime) -> float:
        """What is left of its lease."""
        return self._lease_seconds - (now - claimed.claimed_at).total_seconds()

    def _send(self, sent: Claimed | SentBatch) -> None:
        now = self._clock()
        started_at = self._database_clock.now()
        claimed = first_of(sent)
        if claimed.is_in_turn and self._left_seconds(claimed, started_at) < self._closing_seconds:
            return  # this process stood still since the claim: another may have sent it, and those behind it
        try:
            request = self._signer.request(sent, started_at, self._left_seconds(claimed, started_at))
        except Exception as error:  # sealed with a key that is gone, or damaged: retried, so that it can be mended
            log.error("delivery %s cannot be signed: %s", claimed.id, error)
            for exchange in exchanges_of(sent, started_at, error):
                self._keep(exchange)
            return
        self._sender.add(request)
        size = len(sent.body) if isinstance(sent, SentBatch) else 0
        self._slots.start(sent, claimed.endpoint_id, claimed.lane, now, alone=claimed.alone, batch_bytes=size)
