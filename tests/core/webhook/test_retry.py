"""What becomes of a delivery after an attempt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.core.webhook.retry import (
    DELAYS_SECONDS,
    UNKNOWN_OUTCOME,
    WINDOW_SECONDS,
    Decision,
    Outcome,
    check_schedule,
    decide,
    retry_after_at,
)

CREATED = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)
DEADLINE = CREATED + timedelta(hours=24)
ALMOST_ONE = 0.999999


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def judge(now: datetime, attempts: int = 1, outcome: Outcome | str = Outcome.HTTP_ERROR, **given: object) -> Decision:
    arguments: dict[str, object] = {"status_code": 500 if outcome == "http_error" else None, "retry_after": None}
    arguments |= {"jitter": 0.0, "window_started_at": CREATED, "deadline_at": DEADLINE} | given
    return decide(now=now, scheduled_attempts=attempts, outcome=outcome, **arguments)  # type: ignore[arg-type]


def failing_run(jitter: float, attempt_seconds: float = 0.0, **given: object) -> tuple[list[float], Decision]:
    """The times (seconds after creation) of all attempts at a receiver that never succeeds, and the last decision."""
    times, due_at = [], CREATED
    while True:
        times.append((due_at - CREATED).total_seconds())
        decision = judge(due_at + timedelta(seconds=attempt_seconds), len(times), jitter=jitter, **given)
        if decision.due_at is None:
            return times, decision
        due_at = decision.due_at


def test_the_schedule_is_eleven_attempts_in_exactly_24_hours() -> None:
    assert sum(DELAYS_SECONDS) == WINDOW_SECONDS == 86_400
    offsets = [0, 5, 35, 155, 755, 2555, 6155, 13355, 27755, 56555, 86400]
    assert failing_run(jitter=0.0)[0] == offsets


@pytest.mark.parametrize("jitter", [0.0, 0.5, ALMOST_ONE])
@pytest.mark.parametrize("attempt_seconds", [0.0, 15.0])
def test_whatever_the_jitter_the_eleventh_and_last_attempt_is_at_the_deadline(
    jitter: float, attempt_seconds: float
) -> None:
    times, last = failing_run(jitter, attempt_seconds)
    assert (len(times), times[-1]) == (11, 86_400)
    assert last == Decision("failed", reason="window_exhausted: no success within 24 h; last: http_error 500")


@pytest.mark.parametrize("attempts", range(1, 10))
def test_jitter_adds_at_most_a_tenth_and_never_shortens(attempts: int) -> None:
    delay = timedelta(seconds=DELAYS_SECONDS[attempts - 1])
    assert judge(CREATED, attempts, jitter=0.0).due_at == CREATED + delay
    late = judge(CREATED, attempts, jitter=ALMOST_ONE).due_at
    assert late is not None
    assert CREATED + delay * 1.0999 < late <= CREATED + delay * 1.1


@pytest.mark.parametrize(
    ("outcome", "status_code", "reason"),
    [
        ("http_error", 500, "http_error 500"),
        ("http_error", 400, "http_error 400"),
        ("http_error", 404, "http_error 404"),
        ("http_error", 429, "http_error 429"),
        ("http_error", 301, "http_error 301; redirects are not followed"),
        ("http_error", 308, "http_error 308; redirects are not followed"),
        ("timeout", None, "timeout"),
        ("dns_error", None, "dns_error"),
        ("connect_error", None, "connect_error"),
        ("tls_error", None, "tls_error"),
        ("blocked_address", None, "blocked_address"),
        ("protocol_error", None, "protocol_error"),
    ],
)
def test_everything_but_success_and_410_is_tried_again(outcome: str, status_code: int | None, reason: str) -> None:
    decision = judge(CREATED, 1, outcome, status_code=status_code)
    assert decision == Decision("pending", due_at=at(5), reason=reason)


@pytest.mark.parametrize("now", [CREATED, DEADLINE, DEADLINE + timedelta(days=3)])
def test_a_success_delivers_whenever_it_comes(now: datetime) -> None:
    assert judge(now, 1, Outcome.SUCCESS, status_code=204) == Decision("delivered")


@pytest.mark.parametrize("outcome", [Outcome.TIMEOUT, Outcome.PROTOCOL_ERROR])
def test_when_the_last_attempt_was_not_answered_nobody_knows_whether_it_arrived(outcome: Outcome) -> None:
    assert judge(DEADLINE, 11, outcome, unanswered=True) == Decision("failed", reason=UNKNOWN_OUTCOME)
    assert UNKNOWN_OUTCOME.startswith("unknown_outcome: ")
    assert judge(at(86_399), 11, outcome, unanswered=True).status == "pending"


@pytest.mark.parametrize(
    ("outcome", "status_code", "asked", "expected"),
    [
        ("success", 204, "disable", Decision("delivered", disable_endpoint=True)),
        ("success", 204, "abort-message", Decision("delivered")),
        ("http_error", 500, "disable", Decision("failed", reason="disabled_by_receiver", disable_endpoint=True)),
        ("http_error", 503, "abort-message", Decision("failed", reason="aborted_by_receiver")),
        ("http_error", 410, "abort-message", Decision("failed", reason="endpoint_gone", disable_endpoint=True)),
    ],
)
def test_a_receiver_may_end_its_endpoint_or_the_delivery_and_a_success_stays_one(
    outcome: str, status_code: int, asked: str, expected: Decision
) -> None:
    assert judge(CREATED, outcome=outcome, status_code=status_code, asked=asked, retry_after="60") == expected


def test_410_ends_the_delivery_and_disables_the_endpoint() -> None:
    assert judge(CREATED, status_code=410) == Decision("failed", reason="endpoint_gone", disable_endpoint=True)


@pytest.mark.parametrize(
    ("now", "attempts", "due_at"),
    [
        (at(86_399), 2, DEADLINE),  # a long outage of our own: few attempts made, the last is still at the deadline
        (at(60_000), 10, DEADLINE),  # later than planned: what would fall behind the deadline is moved to it
        (at(80_000), 11, DEADLINE),  # more attempts than delays: again the deadline
        (at(80_000), 99, DEADLINE),
        (CREATED, 0, at(5)),  # a manual attempt before the first of the schedule
    ],
)
def test_there_is_always_one_attempt_at_the_deadline(now: datetime, attempts: int, due_at: datetime) -> None:
    assert judge(now, attempts, jitter=0.5 if attempts else 0.0).due_at == due_at


@pytest.mark.parametrize(
    ("deadline_at", "words"),
    [(at(86_400), "24 h"), (at(5_400), "90 min"), (at(7), "7 s"), (at(0.5), "0.5 s")],
)
def test_giving_up_names_the_window_and_the_last_outcome(deadline_at: datetime, words: str) -> None:
    decision = judge(deadline_at, 3, Outcome.TIMEOUT, deadline_at=deadline_at)
    assert decision.reason == f"window_exhausted: no success within {words}; last: timeout"


RETRY_AFTER = [
    # value, seconds after 2026-11-20 10:00:00 UTC; None: not understood
    ("120", 120),
    (" 120\t", 120),
    ("0", 0),
    ("0000000090", 90),
    ("99999999999999999999999", 10**10),
    ("Fri, 20 Nov 2026 10:05:00 GMT", 300),
    ("Friday, 20-Nov-26 10:05:00 GMT", 300),
    ("Fri Nov 20 10:05:00 2026", 300),
    ("Thu, 19 Nov 2026 10:00:00 GMT", -86_400),
    ("Sun, 06 Nov 1994 08:49:37 GMT", (datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC) - CREATED).total_seconds()),
    ("Sunday, 06-Nov-94 08:49:37 GMT", (datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC) - CREATED).total_seconds()),
    ("Sun Nov  6 08:49:37 1994", (datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC) - CREATED).total_seconds()),
    ("Wed, 30 Jun 2027 23:59:60 GMT", (datetime(2027, 6, 30, 23, 59, 59, tzinfo=UTC) - CREATED).total_seconds()),
    (None, None),
    ("", None),
    ("soon", None),
    ("-5", None),
    ("+5", None),
    ("5.0", None),
    ("1e3", None),
    ("５", None),  # a full-width digit: int() would take it
    ("5 s", None),
    ("0x10", None),
    ("Fri, 20 Nov 2026 10:05:00 UTC", None),
    ("Fri, 20 Nov 2026 10:05:00 +0000", None),
    ("Fri, 31 Feb 2026 10:05:00 GMT", None),
    ("Fri, 20 Foo 2026 10:05:00 GMT", None),
    ("Fri, 20 Nov 2026 25:05:00 GMT", None),
    ("Fri, 20 Nov 0000 10:05:00 GMT", None),
    ("2026-11-20T10:05:00Z", None),
]


@pytest.mark.parametrize(("value", "seconds"), RETRY_AFTER)
def test_retry_after_is_read_as_seconds_or_as_any_of_the_three_dates(value: str | None, seconds: float | None) -> None:
    expected = None
    if seconds is not None:
        expected = CREATED + timedelta(seconds=seconds)
    assert retry_after_at(value, CREATED) == expected


@pytest.mark.parametrize(
    ("status_code", "retry_after", "seconds"),
    [
        (429, "120", 120),
        (503, "120", 120),
        (503, "Fri, 20 Nov 2026 11:00:00 GMT", 3600),
        (500, "120", 5),  # only 429 and 503 promise anything by it
        (404, "120", 5),
        (429, "2", 5),  # less than the schedule
        (429, "0", 5),
        (429, "Thu, 19 Nov 2026 10:00:00 GMT", 5),  # past
        (429, "-5", 5),
        (503, "later, perhaps", 5),
        (503, "86399", 86_399),
        (503, "86401", 86_400),  # up to the deadline, not past it
        (503, "99999999999999999999", 86_400),
        (503, "Fri, 20 Nov 2099 11:00:00 GMT", 86_400),
    ],
)
def test_retry_after_delays_the_next_attempt_up_to_the_deadline(
    status_code: int, retry_after: str, seconds: float
) -> None:
    assert judge(CREATED, status_code=status_code, retry_after=retry_after).due_at == at(seconds)


def test_retry_after_does_not_prolong_the_window() -> None:
    assert judge(DEADLINE, 11, status_code=503, retry_after="60").status == "failed"


@pytest.mark.parametrize(
    ("delays", "window", "part"),
    [
        (DELAYS_SECONDS, WINDOW_SECONDS, None),
        ((1, 1), 10, None),
        ((0.1, 0.2), 0.5, None),
        ((), 10, "at least one delay"),
        ((5, 0), 10, "every retry delay must be positive"),
        ((5, -1), 10, "every retry delay must be positive"),
        ((5, float("nan")), 10, "every retry delay must be positive"),
        ((5,), 0, "window must be positive"),
        ((5,), -1, "window must be positive"),
        ((5, 6), 10, "add up to 11 s, which is more than the delivery window of 10 s"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_explained(
    delays: tuple[float, ...], window: float, part: str | None
) -> None:
    problems = check_schedule(delays, window)
    assert problems == [] if part is None else part in problems[0]


def test_a_schedule_shorter_than_its_window_ends_with_an_attempt_at_the_deadline() -> None:
    times, last = failing_run(jitter=0.0, delays=(1, 2), deadline_at=at(10))
    assert times == [0, 1, 3, 10]
    assert last.status == "failed"
