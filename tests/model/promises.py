"""What must hold in every step of the delivery model. Each function returns the promise that is broken, or None."""

from __future__ import annotations

from app.core.webhook.retry import ENDPOINT_GONE, UNKNOWN_OUTCOME
from app.delivery import deliveries
from app.delivery.claims import MOST_LOST_CLAIMS
from tests.model.parts import Item, State, Truth, Worker
from tests.model.reference import Row

# The codes of all reasons with which a delivery may end.
CODES = {"window_exhausted", "endpoint_gone", "endpoint_disabled", "endpoint_deleted", "worker_crash"}
CODES |= {UNKNOWN_OUTCOME.partition(":")[0]}


def of_record(
    before: Row, after: Row, truth: Truth, item: Item, succeeded: bool, *, is_others: bool = False
) -> str | None:
    """One outcome has been recorded. truth: as it was before. is_others: it waits in a lane, and may be another's."""
    which = f"delivery {item.delivery + 1}"
    if succeeded and not is_others and not item.recorded and before.status == "pending" and after.status != "delivered":
        return f"{which} was answered 200, and that success does not count"
    is_late = item.serial != truth.holder
    if succeeded and before.status == "cancelled" and not (is_late or item.overslept or item.recorded):
        return f"{which} was answered 200 within its lease, and is cancelled all the same"
    if is_late and not succeeded and after != before._replace(attempt_count=after.attempt_count):
        return f"a late failure changes {which}"
    return None


def of_send(state: State, index: int) -> str | None:
    """A delivery of a lane is about to be sent."""
    if state.truths[index].aside:
        return None
    later = [place + 1 for place, truth in enumerate(state.truths) if place > index and truth.posted]
    return f"the receiver gets delivery {index + 1} after delivery {later[0]}" if later else None


def of_step(before: State, after: State, *, by_person: bool, most_attempts: int, poison: int | None) -> str | None:
    """One step has been made."""
    for index, (row, truth) in enumerate(zip(after.rows, after.truths, strict=True)):
        earlier = before.rows[index]
        if row == earlier and truth == before.truths[index]:
            continue
        which = f"delivery {index + 1}"
        ended = earlier.status != "pending"
        if ended and not by_person and row != earlier._replace(attempt_count=row.attempt_count, claims=row.claims):
            return f"{which} had ended, and changes"
        if broken := _of_receiver(which, truth) or _of_row(which, row, truth, most_attempts):
            return broken
        if row.status != "pending" and not ended and (broken := _of_end(which, row, truth, after, index)):
            return broken
        if row.reason == deliveries.WORKER_CRASH and poison is not None and index != poison:
            return f"{which} is given up, though delivery {poison + 1} is what kills the workers"
    return None


def of_claim(state: State, *, is_undisturbed: bool) -> str | None:
    """Something is about to be claimed. is_undisturbed: no worker that knew more has been killed, and nobody has
    enabled the endpoint again."""
    if state.endpoint.status != "enabled":
        return "an endpoint that has ended is sent something"
    said_gone = any(row.reason == ENDPOINT_GONE for row in state.rows)
    if said_gone and is_undisturbed and not any(_is_to_disable(worker) for worker in state.workers):
        return "an endpoint that has said that it is gone is sent something"
    return None


def _is_to_disable(worker: Worker) -> bool:
    """Whether a worker is about to disable the endpoint, or would if it knew that its COMMIT was made."""
    return worker.gone or any(item.recorded and item.answer == "gone" for item in worker.items)


def _of_receiver(which: str, truth: Truth) -> str | None:
    if truth.taken > 1 + truth.excused:
        times = "twice" if truth.taken == 2 else f"{truth.taken} times"
        return f"the receiver takes {which} {times}, and nothing that happened excuses that"
    return None


def _of_row(which: str, row: Row, truth: Truth, most_attempts: int) -> str | None:
    if row.attempt_count != truth.recorded:
        return f"the log of {which} shows {row.attempt_count} attempts, and there were {truth.recorded}"
    if row.window_attempts > most_attempts:
        return f"{which} is attempted more often than its schedule says"
    is_planned = row.status == "pending" and row.lease_token is None and row.trigger == "schedule"
    if is_planned and row.due_at > row.deadline_at:  # a person's retry is due at once, also after it
        return f"the next attempt of {which} is due after its deadline"
    if row.status == "pending" and truth.lost > MOST_LOST_CLAIMS:
        return f"{which} has lost {truth.lost} claims, and is not given up"
    return None


def _of_end(which: str, row: Row, truth: Truth, state: State, index: int) -> str | None:
    """A delivery has just ended."""
    code = (row.reason or "").partition(":")[0]
    if row.finished_at is None or row.lease_token is not None:
        return f"{which} has ended without an end"
    if (row.status == "delivered") != (row.reason is None) or (code and code not in CODES):
        return f"{which} is {row.status}, and its reason is {row.reason}"
    if row.status == "cancelled" and state.endpoint.status == "enabled":
        return f"{which} is cancelled, though its endpoint is enabled"
    if code == "window_exhausted" and truth.unsure:
        return f"{which} is called failed as if that were certain, though its last attempt's answer was lost"
    if row.reason == deliveries.WORKER_CRASH:
        lost = truth.lost + sum(item.delivery == index for worker in state.workers for item in worker.items)
        if lost < MOST_LOST_CLAIMS:
            return f"{which} is given up as a killer of workers, with {lost} of {MOST_LOST_CLAIMS} claims lost"
    return None
