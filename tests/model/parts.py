"""What the delivery model is made of: a scenario's numbers, and a state with its rows, workers and the truth."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

from app.core.webhook.retry import Outcome
from tests.model.reference import Endpoint, Row, Token

START = datetime(2026, 11, 20, tzinfo=UTC)
NEVER = datetime.min.replace(tzinfo=UTC)

T = TypeVar("T")


class Answer(NamedTuple):
    """How the receiver treats a POST. took: it has the event and says so, whether or not that arrives here.

    slowly: the answer takes as long as an attempt may take. breaks: the connection does, so that the request is sent
    once more at once; how that is treated is another answer.
    """

    text: str
    outcome: Outcome
    status_code: int | None = None
    retry_after: str | None = None
    took: bool = False
    slowly: bool = False
    breaks: bool = False


ANSWERS = {
    "ok": Answer("the receiver answers 200", Outcome.SUCCESS, 200, took=True),
    "late": Answer("the receiver takes its time to answer 200", Outcome.SUCCESS, 200, took=True, slowly=True),
    "no": Answer("the receiver answers 500", Outcome.HTTP_ERROR, 500),
    "gone": Answer("the receiver answers 410", Outcome.HTTP_ERROR, 410),
    "busy": Answer("the receiver answers 503, Retry-After: 86400", Outcome.HTTP_ERROR, 503, "86400"),
    "cut": Answer("the receiver takes it, and its answer is lost", Outcome.PROTOCOL_ERROR, took=True),
    "break": Answer("the connection breaks, and it sends once more", Outcome.PROTOCOL_ERROR, took=True, breaks=True),
    "hang": Answer("the receiver does not answer", Outcome.TIMEOUT, slowly=True),
}


class Scenario(NamedTuple):
    """What there is and what may happen. Durations are seconds.

    places: what one worker may hold; faults: how many accidents, of the kinds in `accidents`; acts: what people do,
    each once; poison: a delivery that kills whoever sends it; ordered: the deliveries are one lane.
    """

    about: str
    workers: int = 2
    deliveries: int = 1
    places: int = 2
    answers: tuple[str, ...] = ("ok", "no")
    faults: int = 0
    accidents: tuple[str, ...] = ("crash", "freeze", "commit")
    acts: tuple[str, ...] = ()
    delays: tuple[float, ...] = (2, 4)
    window: float = 8
    lease: float = 4
    timeout: float = 2
    poison: int | None = None
    ordered: bool = False


class Item(NamedTuple):
    """A delivery in a worker's hands. serial: which claim of it this is; token: what that claim wrote into the row.

    step: picked (only without locks), claimed, sent. ends_at: when the sent one's answer comes.
    overslept: the lease ended while the worker was frozen. recorded: it is committed, and the worker does not know.
    broken: of an attempt that broke before this one: "to record", or "recorded" and the worker does not know.
    alone: nothing is claimed beside it for a second.
    """

    delivery: int
    serial: int
    token: Token
    lease_ends: datetime
    step: str = "claimed"
    answer: str = ""
    ends_at: datetime = NEVER
    overslept: bool = False
    recorded: bool = False
    broken: str = ""
    alone: bool = False


class Worker(NamedTuple):
    """gone: the endpoint has answered 410, and has still to be disabled. unwanted: what is to be tried again at an
    endpoint that has ended has still to be cancelled."""

    frozen: bool = False
    gone: bool = False
    unwanted: bool = False
    items: tuple[Item, ...] = ()


class Truth(NamedTuple):
    """What really happened to a delivery, of which its row may know less.

    taken: how often the receiver took it; excused: repeats that accidents and people account for; lost: claims of this
    window that came to nothing; recorded: attempts; unsure: the last of them was sent and not answered; holder: the
    claim whose lease it is, 0 when there is none; posted: it was sent, in a lane; aside: it has stepped out of that.
    """

    taken: int = 0
    excused: int = 0
    lost: int = 0
    recorded: int = 0
    unsure: bool = False
    holder: int = 0
    posted: bool = False
    aside: bool = False


class State(NamedTuple):
    """A moment. faults, acts: what may still happen."""

    now: datetime
    rows: tuple[Row, ...]
    truths: tuple[Truth, ...]
    endpoint: Endpoint
    workers: tuple[Worker, ...]
    faults: int
    acts: tuple[str, ...]


def put(members: tuple[T, ...], index: int, value: T) -> tuple[T, ...]:
    """The tuple with another member at an index."""
    return (*members[:index], value, *members[index + 1 :])


def name(worker: int) -> str:
    """What a worker is called in traces."""
    return f"worker {chr(ord('A') + worker)}"
