"""When a delivery is tried again (by the schedule, or as Retry-After asks), and when it is given up.

Pure: the caller passes the clock reading, the random jitter and the schedule. All times are aware ``datetime`` in UTC,
all durations are seconds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Literal

from app.core.webhook.steering import ABORT, DISABLE, Asked

# How long a delivery is tried: a receiver that is down for a working day still gets everything.
WINDOW_SECONDS = 86_400

# Waits after the first attempt, which is made at once: quick against a restart, slow against an outage. The last wait
# is what remains of the 24 hours, so that the eleventh attempt falls on the deadline.
DELAYS_SECONDS = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 28_800, 29_845)

# Jitter only adds: it spreads the attempts of one outage without ever calling earlier than was promised.
JITTER_SHARE = 0.1

# A Retry-After of more digits than this (317 years) is past every deadline; the cap keeps date arithmetic in range.
_RETRY_AFTER_DIGITS = 10

# RFC 9110, 15.5.11: the receiver says that it wants no more.
GONE_STATUS = 410
ENDPOINT_GONE = "endpoint_gone"
# It has asked for that by a header (steering.py).
DISABLED_BY_RECEIVER = "disabled_by_receiver"
ABORTED_BY_RECEIVER = "aborted_by_receiver"
# No sender can know: the request may have been read before the answer was lost.
UNKNOWN_OUTCOME = "unknown_outcome: the last attempt was sent and not answered; the receiver may have it"

Status = Literal["delivered", "pending", "failed"]


class Outcome(StrEnum):
    """How one attempt ended. The values are the public ones of the delivery log."""

    SUCCESS = "success"
    HTTP_ERROR = "http_error"
    TIMEOUT = "timeout"
    DNS_ERROR = "dns_error"
    CONNECT_ERROR = "connect_error"
    TLS_ERROR = "tls_error"
    BLOCKED_ADDRESS = "blocked_address"
    PROTOCOL_ERROR = "protocol_error"
    NOT_ACCEPTED = "not_accepted"  # of an event, by an answer that acknowledges others of its batch, or none


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a delivery after an attempt.

    ``due_at`` is the next attempt of a pending delivery, else None. ``reason`` is None when delivered,
    ``endpoint_gone`` after a 410, ``disabled_by_receiver`` or ``aborted_by_receiver`` when the receiver has asked for
    that with a failure, at the end of the window ``unknown_outcome: …`` when the last attempt was sent and no
    answer came, else ``window_exhausted: …``; of a pending one the outcome in words.
    """

    status: Status
    due_at: datetime | None = None
    reason: str | None = None
    disable_endpoint: bool = False


def decide(
    *,
    now: datetime,
    window_started_at: datetime,
    deadline_at: datetime,
    scheduled_attempts: int,
    outcome: Outcome | str,
    status_code: int | None,
    retry_after: str | None,
    jitter: float,
    delays: Sequence[float] = DELAYS_SECONDS,
    unanswered: bool = False,
    asked: Asked | None = None,
) -> Decision:
    """Judge the attempt that has just ended.

    ``scheduled_attempts`` counts the attempts of the schedule made so far, this one included (a person's manual
    attempts do not count). ``window_started_at`` is when the schedule began, for the words only. ``jitter`` is a
    random number in [0, 1). An attempt that ends at or after ``deadline_at`` is the last; one that ends before it
    always leaves at least the attempt at the deadline. ``unanswered``: the request was sent, and no answer came.
    ``asked``: what the receiver asks for with a header; a success stays one.
    """
    if outcome == Outcome.SUCCESS:
        return Decision("delivered", disable_endpoint=asked == DISABLE)
    if status_code == GONE_STATUS or asked == DISABLE:
        reason = ENDPOINT_GONE if status_code == GONE_STATUS else DISABLED_BY_RECEIVER
        return Decision("failed", reason=reason, disable_endpoint=True)
    if asked == ABORT:
        return Decision("failed", reason=ABORTED_BY_RECEIVER)
    words = describe(outcome, status_code)
    if now >= deadline_at and unanswered:
        return Decision("failed", reason=UNKNOWN_OUTCOME)
    if now >= deadline_at:
        window = _duration_words((deadline_at - window_started_at).total_seconds())
        return Decision("failed", reason=f"window_exhausted: no success within {window}; last: {words}")
    due_at = deadline_at
    if scheduled_attempts <= len(delays):
        delay_seconds = delays[max(scheduled_attempts, 1) - 1]
        due_at = now + timedelta(seconds=delay_seconds * (1 + JITTER_SHARE * jitter))
    if status_code in (429, 503) and (asked_at := retry_after_at(retry_after, now)) is not None:
        # Asking for less than the schedule is ignored: the schedule is what protects the other receivers.
        due_at = max(due_at, asked_at)
    return Decision("pending", due_at=min(due_at, deadline_at), reason=words)


def told_to_disable(
    outcome: Outcome | str, status_code: int | None, asked: Asked | None, status: str, reason: str | None
) -> bool:
    """Whether an attempt that is recorded already has ended its delivery, which stands so, and its endpoint with it."""
    if outcome == Outcome.SUCCESS:
        return asked == DISABLE and status == "delivered"
    return (reason == ENDPOINT_GONE and status_code == GONE_STATUS) or (
        reason == DISABLED_BY_RECEIVER and asked == DISABLE
    )


def describe(outcome: Outcome | str, status_code: int | None) -> str:
    """An attempt's result in a few words for a person, for example ``http_error 500``."""
    if status_code is None:
        return str(outcome)
    hint = "; redirects are not followed" if 300 <= status_code < 400 else ""
    return f"{outcome} {status_code}{hint}"


def check_schedule(delays: Sequence[float], window_seconds: float) -> list[str]:
    """What is wrong with a configured schedule, as sentences for the operator; empty when it can be used.

    Delays that add up to less than the window are fine: one last attempt is made when the window ends.
    """
    problems = []
    if not window_seconds > 0:
        problems.append(f"the delivery window must be positive, it is {window_seconds:g} s")
    if not delays:
        problems.append("the retry delays must name at least one delay")
    if any(not delay > 0 for delay in delays):
        problems.append("every retry delay must be positive")
    total = sum(delays)
    if not problems and total > window_seconds:
        problems.append(
            f"the retry delays add up to {total:g} s, which is more than the delivery window of {window_seconds:g} s: "
            "shorten the delays or lengthen the window"
        )
    return problems


# RFC 9110, 5.6.7: the three date forms a recipient must accept. The weekday is not checked against the date.
_IMF_FIXDATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) (\w{3}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII)
_RFC850_DATE = re.compile(
    r"(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (\d\d)-(\w{3})-(\d\d) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)
_ASCTIME_DATE = re.compile(r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (\w{3}) ([ \d]\d) (\d\d):(\d\d):(\d\d) (\d{4})", re.ASCII)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def retry_after_at(value: str | None, now: datetime) -> datetime | None:
    """The time that a Retry-After header asks for (RFC 9110, 10.2.3); None when it is absent or not understood."""
    text = (value or "").strip(" \t")
    if text.isascii() and text.isdigit():
        seconds = int(text) if len(text) <= _RETRY_AFTER_DIGITS else 10**_RETRY_AFTER_DIGITS
        return now + timedelta(seconds=seconds)
    return _http_date(text, now)


def _http_date(text: str, now: datetime) -> datetime | None:
    if match := _IMF_FIXDATE.fullmatch(text):
        day, month, year, *clock = match.groups()
    elif match := _RFC850_DATE.fullmatch(text):
        day, month, year, *clock = match.groups()
        year = str(_full_year(int(year), now))
    elif match := _ASCTIME_DATE.fullmatch(text):
        month, day, *clock, year = match.groups()
    else:
        return None
    try:
        hour, minute, second = map(int, clock)
        # A leap second is allowed on the wire; datetime has none.
        return datetime(int(year), _MONTHS.index(month) + 1, int(day), hour, minute, min(second, 59), tzinfo=UTC)
    except ValueError:  # no such month, day or hour
        return None


def _full_year(two_digits: int, now: datetime) -> int:
    """RFC 9110, 5.6.7: more than 50 years ahead means the most recent past year with these digits."""
    year = now.year - now.year % 100 + two_digits
    return year - 100 if year > now.year + 50 else year


def _duration_words(seconds: float) -> str:
    """A window for a person: ``24 h``, ``90 min``, ``7 s``."""
    if seconds % 3600 == 0:
        return f"{seconds / 3600:g} h"
    return f"{seconds / 60:g} min" if seconds % 60 == 0 else f"{seconds:g} s"
