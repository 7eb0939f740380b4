"""How much a submission makes the database write, and how far a slice of it may reach.

Pure. An event makes a row, and each endpoint that gets it a delivery: together they are its weight. A submission that
weighs more than a group may is committed in slices, one after the other, with other groups in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from app.ledger.submission import Submission

# Events of one group, where no endpoint wants them: some tens of milliseconds, so that the next group does not wait
# long.
MOST_EVENTS = 1000
# Deliveries of one group: 0.15 s on an idle machine (31 to 42 microseconds each), half a second on a busy one, a tenth
# of group.CALL_SECONDS. Neighbours wait for one slice at most; smaller ones would cost more calls and save them little.
MOST_WEIGHT = 5_000
EVENT_WEIGHT = MOST_WEIGHT // MOST_EVENTS  # so that one bound is for both
# Of several requests that are committed together. A call costs a millisecond more than its events: many together save
# next to nothing. A single event that is among them, or comes meanwhile, waits for all, and for making their rows
# before, which takes the process as long as the database needs for them.
MOST_TOGETHER = MOST_WEIGHT // 4

# (kind, type) -> how many endpoints may get such an event (Matcher.weight). One that looks closer is counted as if it
# did: looking takes time, too.
Wanting = Callable[[str, str], int]


def reach(submission: Submission, start: int, wanting: Wanting, most: int) -> tuple[int, int]:
    """Where the slice that begins with the event at `start` stops, and what it weighs. It has at least one event."""
    total = 0
    for index in range(start, len(submission.drafts)):
        weight = _weight(submission, index, wanting)
        if index > start and total + weight > most:
            return index, total
        total += weight
    return len(submission.drafts), total


def weight_of(submission: Submission, wanting: Wanting) -> int:
    """What a whole submission weighs."""
    return sum(_weight(submission, index, wanting) for index in range(len(submission.drafts)))


def packed(weights: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Ranges (start, stop) of neighbours that together weigh no more than `most`, or are one that weighs more."""
    start, total = 0, 0
    for index, weight in enumerate(weights):
        if index > start and total + weight > most:
            yield start, index
            start, total = index, 0
        total += weight
    if weights:
        yield start, len(weights)


def _weight(submission: Submission, index: int, wanting: Wanting) -> int:
    if submission.only_endpoint_id is not None:
        return EVENT_WEIGHT + 1
    if index in submission.refusals:
        return EVENT_WEIGHT
    draft = submission.drafts[index]
    return EVENT_WEIGHT + wanting(draft.kind, draft.type)
