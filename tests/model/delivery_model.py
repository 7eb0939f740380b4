"""Workers, a receiver, people and accidents around the deliveries of one endpoint: all that can happen to them.

One step is one transaction, one POST, one accident or one act of a person. Time goes on only when no worker that runs
has anything to do, to the next moment at which something is due; so a worker is late only when it was frozen.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from datetime import timedelta
from itertools import accumulate

from tests.model import promises, reference
from tests.model.parts import START, Scenario, State, Truth, Worker, name, put
from tests.model.reference import Endpoint, Row, Rules, is_sent
from tests.model.search import Model, Step
from tests.model.worker_steps import Made, WorkerSteps, cancelled, is_first


def delivery_model(scenario: Scenario, rules: Rules) -> Model[State]:
    """The model of a scenario under some rules."""
    steps = DeliverySteps(scenario, rules)
    row = Row(due_at=START, window_started_at=START, deadline_at=START + steps.window)
    count = scenario.deliveries
    workers = (Worker(),) * scenario.workers
    initial = State(START, (row,) * count, (Truth(),) * count, Endpoint(), workers, scenario.faults, scenario.acts)
    return Model(initial, steps.of, _key if rules.fresh_tokens else _whole, _waits)


def _key(state: State) -> Hashable:
    """Workers are alike: which of them holds what makes no difference."""
    return state._replace(workers=tuple(sorted(state.workers)))


def _whole(state: State) -> Hashable:
    return state


def _waits(state: State) -> str | None:
    pending = [index + 1 for index, row in enumerate(state.rows) if row.status == "pending"]
    return f"delivery {pending[0]} is pending" if pending else None


class DeliverySteps:
    """All steps that lead out of a state."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self._scenario, self._rules = scenario, rules
        self.window = timedelta(seconds=scenario.window)
        self._workers = WorkerSteps(scenario, rules)
        # The first, one after each delay that ends within the window, and one at the window's end.
        self._most_attempts = sum(offset < scenario.window for offset in accumulate(scenario.delays, initial=0.0)) + 1

    def of(self, state: State) -> Iterator[Step[State]]:
        """Every step, its promises checked."""
        for made in self._made(state):
            broken = made.broken or promises.of_step(
                state,
                made.after,
                by_person=made.kind == "person",
                most_attempts=self._most_attempts,
                poison=self._scenario.poison,
            )
            yield Step(made.text, made.after, made.kind == "ordinary", broken)

    def _made(self, state: State) -> Iterator[Made]:
        busy = False
        for number, worker in enumerate(state.workers):
            if worker.frozen:
                thawed = put(state.workers, number, worker._replace(frozen=False))
                yield Made(f"{name(number)} goes on", state._replace(workers=thawed))
                continue
            works = list(self._workers.of(state, number))
            busy |= bool(works)
            yield from works
            if state.faults:
                yield from self._accidents(state._replace(faults=state.faults - 1), number, worker)
        yield from self._people(state)
        if not busy:
            yield from self._time(state)

    # Accidents

    def _accidents(self, state: State, number: int, worker: Worker) -> Iterator[Made]:
        if "crash" in self._scenario.accidents and (worker.items or worker.gone or worker.unwanted):
            yield Made(f"{name(number)} is killed", self._workers.killed(state, number), "accident")
        if "freeze" in self._scenario.accidents and worker.items:
            workers = put(state.workers, number, worker._replace(frozen=True))
            yield Made(f"{name(number)} freezes", state._replace(workers=workers), "accident")

    # People and time

    def _people(self, state: State) -> Iterator[Made]:
        for act in dict.fromkeys(state.acts):
            left = list(state.acts)
            left.remove(act)
            free = state._replace(acts=tuple(left))
            for text, after in self._act(free, act):
                if after != free:
                    yield Made(f"a person {text}", after, "person")

    def _act(self, state: State, act: str) -> Iterator[tuple[str, State]]:
        if act == "disable" and state.endpoint.status == "enabled":
            ended = state._replace(endpoint=Endpoint("disabled", "by its owner"))
            yield "disables the endpoint", cancelled(self._rules, ended)
        elif act == "enable" and state.endpoint.status == "disabled":
            yield "enables the endpoint", state._replace(endpoint=Endpoint())
        elif act == "delete" and state.endpoint.status is not None:
            yield "deletes the endpoint", cancelled(self._rules, state._replace(endpoint=Endpoint(None)))
        elif act == "skip":
            for index, row in enumerate(state.rows):
                truth = state.truths[index]
                if (
                    row.status == "pending"
                    and not truth.aside
                    and is_first(state, index)
                    and not is_sent(row, state.now)
                ):
                    row = row._replace(leased_until=None, lease_token=None)
                    aside = put(state.truths, index, truth._replace(aside=True, holder=0))
                    yield f"skips delivery {index + 1}", state._replace(rows=put(state.rows, index, row), truths=aside)
        elif act == "retry":
            for index, row in enumerate(state.rows):
                retried = reference.retry_by_person(row, state.endpoint, state.now, self.window, self._rules)
                truth = state.truths[index]
                if row.status != retried.status:
                    # Claims of the former window that are still out do not count in this one, whatever comes of them.
                    out = sum(item.delivery == index for worker in state.workers for item in worker.items)
                    truth = truth._replace(excused=truth.excused + 1, lost=-out, holder=0)
                if retried.lease_token is None:
                    truth = truth._replace(holder=0)
                yield (
                    f"retries delivery {index + 1}",
                    state._replace(rows=put(state.rows, index, retried), truths=put(state.truths, index, truth)),
                )

    def _time(self, state: State) -> Iterator[Made]:
        """To the next moment at which something is due. Those who are frozen lose their leases."""
        moments = [reference.wakes_at(row) for row in state.rows if row.status == "pending"]
        for worker in state.workers:
            moments += [item.ends_at for item in worker.items]
            moments += [item.lease_ends for item in worker.items if worker.frozen]
        later = [moment for moment in moments if state.now < moment < reference.FOR_EVER]
        if not later:
            return
        now, truths, workers = min(later), state.truths, state.workers
        for number, worker in enumerate(workers):
            if not worker.frozen:
                continue
            for position, item in enumerate(worker.items):
                if item.lease_ends <= now and not item.overslept:
                    truth = truths[item.delivery]
                    truths = put(truths, item.delivery, truth._replace(excused=truth.excused + 1))
                    worker = worker._replace(items=put(worker.items, position, item._replace(overslept=True)))
            workers = put(workers, number, worker)
        text = f"the clock shows {(now - START).total_seconds():g} s"
        yield Made(text, state._replace(now=now, truths=truths, workers=workers))
