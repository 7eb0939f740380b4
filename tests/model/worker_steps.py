"""What a worker does: it sends what it has claimed, records what has ended and claims what is due."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from app.core.webhook.fairness import SLOW_AFTER_SECONDS
from app.core.webhook.retry import Outcome
from app.delivery.endpoint_health import GONE
from tests.model import promises, reference
from tests.model.parts import ANSWERS, Item, Scenario, State, Worker, name, put
from tests.model.reference import Endpoint, Exchange, Rules

ALONE = timedelta(seconds=SLOW_AFTER_SECONDS)  # for so long at most nothing starts beside a row that travels alone


class Made(NamedTuple):
    """A step before its promises have been checked. kind: ordinary, accident or person."""

    text: str
    after: State
    kind: str = "ordinary"
    broken: str | None = None


def cancelled(rules: Rules, state: State) -> State:
    """What is pending at an endpoint that has ended is cancelled."""
    rows = (reference.cancel(row, state.endpoint, state.now, rules) for row in state.rows)
    return state._replace(rows=tuple(rows))


def is_first(state: State, index: int) -> bool:
    """Whether a delivery of a lane waits for no other: all before it have ended or stepped aside, or it has itself."""
    before = zip(state.rows[:index], state.truths[:index], strict=True)
    return state.truths[index].aside or all(row.status != "pending" or truth.aside for row, truth in before)


class WorkerSteps:
    """All that a worker may do next."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self._scenario, self._rules = scenario, rules
        self._lease, self._timeout = timedelta(seconds=scenario.lease), timedelta(seconds=scenario.timeout)

    def of(self, state: State, number: int) -> Iterator[Made]:
        """What a running worker does next: lease what it has picked, send what it has claimed, else a round."""
        worker = state.workers[number]
        for position, item in enumerate(worker.items):
            if item.step == "picked":
                yield self._lease_picked(state, number, position)
                return
            if item.step == "claimed":
                if self._is_too_late(state, item):
                    yield self._let_go(state, number, position)
                else:
                    yield from self._send(state, number, position)
                return
        yield from self._rounds(state, number)
        if worker.gone:
            yield self._disable_gone(state, number, worker)
        if worker.unwanted:
            workers = put(state.workers, number, worker._replace(unwanted=False))
            state = state._replace(workers=workers)
            if state.endpoint.status != "enabled":
                state = cancelled(self._rules, state)
            yield Made(f"{name(number)} cancels what has ended", state)

    def _send(self, state: State, number: int, position: int) -> Iterator[Made]:
        worker = state.workers[number]
        item = worker.items[position]
        text = f"{name(number)} sends delivery {item.delivery + 1}"
        if item.delivery == self._scenario.poison:
            yield Made(f"{text}, and that kills it", self.killed(state, number))
            return
        for key in self._scenario.answers:
            answer = ANSWERS[key]
            if answer.breaks and item.broken:
                continue  # once at most
            ends_at = state.now + (self._timeout if answer.slowly else timedelta(0))
            sent = item._replace(step="sent", answer=key, ends_at=ends_at)
            if answer.breaks:
                sent = item._replace(broken="to record")
            truth = state.truths[item.delivery]
            is_lost = answer.took and answer.status_code is None
            truth = truth._replace(taken=truth.taken + answer.took, excused=truth.excused + is_lost)
            broken = promises.of_send(state, item.delivery) if self._scenario.ordered else None
            truth = truth._replace(posted=self._scenario.ordered)
            yield Made(
                f"{text}; {answer.text}",
                state._replace(
                    truths=put(state.truths, item.delivery, truth),
                    workers=put(state.workers, number, worker._replace(items=put(worker.items, position, sent))),
                ),
                broken=broken,
            )

    def _is_too_late(self, state: State, item: Item) -> bool:
        """Whether its lease may end before its attempt does: then another may send it, and those behind it."""
        in_time = state.now + self._timeout <= item.lease_ends
        return self._scenario.ordered and self._rules.sends_in_time and not in_time

    def _let_go(self, state: State, number: int, position: int) -> Made:
        worker = state.workers[number]
        index = worker.items[position].delivery
        truth = state.truths[index]
        left = worker._replace(items=worker.items[:position] + worker.items[position + 1 :])
        after = state._replace(
            truths=put(state.truths, index, truth._replace(lost=truth.lost + 1)),
            workers=put(state.workers, number, left),
        )
        return Made(f"{name(number)} does not send delivery {index + 1}: its lease is over", after)

    def _rounds(self, state: State, number: int) -> Iterator[Made]:
        """One transaction: record what has ended, and claim what is due."""
        items = state.workers[number].items
        moments = [item.ends_at for item in items]
        moments += [reference.wakes_at(row) for row in state.rows if row.status == "pending"]
        if all(moment > state.now for moment in moments) and not any(item.broken for item in items):
            return
        recorded, broken, told = self._record(state, number)
        claims = list(self._claims(recorded, number))
        if not claims and told:
            claims = [Made("", recorded)]
        for claim in claims:
            text = f"{name(number)} {' and '.join(filter(None, (told, claim.text)))}"
            yield Made(text, claim.after, broken=broken or claim.broken)
            if state.faults and "commit" in self._scenario.accidents:
                yield from self._commit_unanswered(state, number, claim.after, text)

    def _record(self, state: State, number: int) -> tuple[State, str | None, str]:
        """Record all answers that have come: the state after it, a broken promise, and what to say of it."""
        state, told = self._record_broken(state, number)
        worker, broken = state.workers[number], None
        ended = [item for item in worker.items if item.step == "sent" and item.ends_at <= state.now]
        if not ended:
            return state, None, f"records {' and '.join(told)}" if told else ""
        rows, truths, gone, unwanted = state.rows, state.truths, worker.gone, worker.unwanted
        for item in ended:
            answer, row, truth = ANSWERS[item.answer], rows[item.delivery], truths[item.delivery]
            unanswered = answer.status_code is None
            exchange = Exchange(item.token, answer.outcome, answer.status_code, answer.retry_after, unanswered)
            after, is_gone = reference.record(
                row,
                exchange,
                state.now,
                self._scenario.delays,
                self._rules,
                is_doubtful=item.recorded,
                is_known=item.recorded,
                is_in_lane=self._is_in_lane(state, item.delivery),
            )
            succeeded = answer.outcome == Outcome.SUCCESS
            is_others = item.serial != truth.holder and self._is_in_lane(state, item.delivery)
            broken = broken or promises.of_record(row, after, truth, item, succeeded, is_others=is_others)
            if not item.recorded:
                truth = truth._replace(recorded=truth.recorded + 1, unsure=answer.status_code is None)
            holder = truth.holder if after.lease_token is not None else 0
            truths = put(truths, item.delivery, truth._replace(holder=holder))
            rows, gone = put(rows, item.delivery, after), gone or is_gone
            is_to_come = after.status == "pending" and after.lease_token != row.lease_token
            unwanted |= is_to_come and state.endpoint.status != "enabled"
            told.append(f"the {'success' if succeeded else 'failure'} of delivery {item.delivery + 1}")
        items = tuple(item for item in worker.items if item not in ended)
        worker = worker._replace(gone=gone, unwanted=unwanted, items=items)
        workers = put(state.workers, number, worker)
        return state._replace(rows=rows, truths=truths, workers=workers), broken, f"records {' and '.join(told)}"

    def _is_in_lane(self, state: State, index: int) -> bool:
        return self._scenario.ordered and not state.truths[index].aside

    def _record_broken(self, state: State, number: int) -> tuple[State, list[str]]:
        """Record the attempts that were sent once more at once: the state after it, and what to say of it."""
        worker, rows, truths = state.workers[number], state.rows, state.truths
        items, told = list(worker.items), []
        for position, item in enumerate(items):
            if not item.broken:
                continue
            exchange = Exchange(item.token, Outcome.PROTOCOL_ERROR, unanswered=True, resent=True)
            row, truth, is_known = rows[item.delivery], truths[item.delivery], item.broken == "recorded"
            after, _ = reference.record(row, exchange, state.now, self._scenario.delays, self._rules, is_known=is_known)
            rows = put(rows, item.delivery, after)
            truths = put(truths, item.delivery, truth._replace(recorded=truth.recorded + (not is_known)))
            items[position] = item._replace(broken="")
            told.append(f"the broken attempt of delivery {item.delivery + 1}")
        workers = put(state.workers, number, worker._replace(items=tuple(items)))
        return state._replace(rows=rows, truths=truths, workers=workers), told

    def _claims(self, state: State, number: int) -> Iterator[Made]:
        due = [index for index, row in enumerate(state.rows) if reference.is_due(row, state.now)]
        if self._scenario.ordered and self._rules.takes_heads_only:
            due = [index for index in due if is_first(state, index)]
        if due and state.endpoint.status != "enabled" and self._rules.asks_enabled_only:
            yield Made("cancels what has ended", cancelled(self._rules, state))
            return
        held = state.workers[number].items
        suspects = [index for index in due if reference.is_suspect(state.rows[index], self._rules)]
        if any(item.alone and state.now < item.lease_ends - self._lease + ALONE for item in held):
            return
        free = self._scenario.places - len(held)
        if others := [index for index in due if index not in suspects][:free]:
            yield self._claim(state, number, others)
        if suspects and not held:
            yield self._claim(state, number, suspects[:1], alone=True)

    def _claim(self, state: State, number: int, indexes: list[int], *, alone: bool = False) -> Made:
        enabled_again = "enable" in self._scenario.acts and "enable" not in state.acts
        only_commits = self._scenario.accidents == ("commit",)
        is_undisturbed = (only_commits or state.faults == self._scenario.faults) and not enabled_again
        broken = promises.of_claim(state, is_undisturbed=is_undisturbed)
        which = " and ".join(f"delivery {index + 1}" for index in indexes)
        worker = state.workers[number]
        picked = tuple(Item(index, 0, None, state.now, "picked", alone=alone) for index in indexes)
        state = state._replace(workers=put(state.workers, number, worker._replace(items=worker.items + picked)))
        if not self._rules.locks_claims:
            return Made(f"picks {which}", state, broken=broken)
        for index in range(len(worker.items), len(worker.items) + len(indexes))[::-1]:
            state = self._leased(state, number, index)
        given_up = [index for index in indexes if state.rows[index].status != "pending"]
        return Made(f"{'gives up' if given_up else 'claims'} {which}", state, broken=broken)

    def _lease_picked(self, state: State, number: int, position: int) -> Made:
        worker = state.workers[number]
        index = worker.items[position].delivery
        if state.rows[index].status == "pending":
            return Made(f"{name(number)} leases delivery {index + 1}", self._leased(state, number, position))
        left = worker._replace(items=worker.items[:position] + worker.items[position + 1 :])
        return Made(f"{name(number)} is late", state._replace(workers=put(state.workers, number, left)))

    def _leased(self, state: State, number: int, position: int) -> State:
        worker = state.workers[number]
        index = worker.items[position].delivery
        truth = state.truths[index]
        used = {item.serial for other in state.workers for item in other.items if item.delivery == index}
        serial = next(serial for serial in range(1, 100) if serial not in used and serial != truth.holder)
        token = serial if self._rules.fresh_tokens else number + 1
        row = reference.lease(state.rows[index], state.now, self._lease, token, self._rules)
        # Two transactions, one step: between them nobody has it but this worker, and if that is killed the row is
        # claimed, and given up, once more.
        if reason := reference.why_hopeless(row, self._rules):
            row = reference.fail(row, token, reason, state.now)
        items = list(worker.items)
        if row.status == "pending":
            items[position] = Item(index, serial, token, state.now + self._lease, alone=items[position].alone)
        else:
            del items[position]
        return state._replace(
            rows=put(state.rows, index, row),
            truths=put(state.truths, index, truth._replace(holder=serial if row.status == "pending" else 0)),
            workers=put(state.workers, number, worker._replace(items=tuple(items))),
        )

    def _disable_gone(self, state: State, number: int, worker: Worker) -> Made:
        workers = put(state.workers, number, worker._replace(gone=False))
        state = state._replace(workers=workers)
        if state.endpoint.status == "enabled":
            state = cancelled(self._rules, state._replace(endpoint=Endpoint("disabled", GONE)))
        return Made(f"{name(number)} disables the endpoint, which is gone", state)

    def killed(self, state: State, number: int) -> State:
        """The worker with all that it holds is gone; another takes its place."""
        truths = state.truths
        for item in state.workers[number].items:
            if not item.recorded and item.step != "picked":
                truth = truths[item.delivery]
                was_taken = item.step == "sent" and ANSWERS[item.answer].took
                truth = truth._replace(lost=truth.lost + 1, excused=truth.excused + was_taken)
                truths = put(truths, item.delivery, truth)
        return state._replace(truths=truths, workers=put(state.workers, number, Worker()))

    def _commit_unanswered(self, before: State, number: int, after: State, text: str) -> Iterator[Made]:
        """The connection is lost during COMMIT: it was made or it was not, and the worker does not know."""
        held, truths = before.workers[number], after.truths
        kept = tuple(
            item._replace(
                recorded=item.recorded or (item.step == "sent" and item.ends_at <= before.now),
                broken=item.broken and "recorded",
            )
            for item in held.items
        )
        for item in after.workers[number].items:
            if item not in held.items:  # claimed by nobody: it is due again when the lease ends
                truths = put(truths, item.delivery, truths[item.delivery]._replace(lost=truths[item.delivery].lost + 1))
        if not self._rules.keeps_outcomes:
            kept = tuple(item for item in kept if not item.recorded)
            forgotten = put(before.workers, number, held._replace(items=kept))
            undone = before._replace(workers=forgotten, faults=before.faults - 1)
            yield Made(f"{text}, but the COMMIT fails", undone, "accident")
        # A COMMIT that was not made leaves all as it was, for another try.
        workers = put(after.workers, number, held._replace(items=kept))
        done = after._replace(truths=truths, workers=workers, faults=before.faults - 1)
        yield Made(f"{text}, but the COMMIT's answer is lost", done, "accident")
