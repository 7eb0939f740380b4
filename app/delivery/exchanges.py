"""What came of a claimed delivery's request, as the exchange that is recorded."""

from __future__ import annotations

from datetime import datetime

from app.core.webhook.retry import Outcome
from app.delivery.attempts import Exchange
from app.delivery.claims import Claimed
from app.delivery.sending.request import Result


def exchange_of(claimed: Claimed, started_at: datetime, result: Result | Exception) -> Exchange:
    """The exchange to record. started_at: of the attempt. An exception: the request could not even be made."""
    if isinstance(result, Exception):
        error = f"not sent: {result}"
        return Exchange(claimed, Outcome.PROTOCOL_ERROR, None, error, None, (), b"", None, started_at, 0.0, by_us=True)
    return Exchange(
        claimed=claimed,
        outcome=result.outcome,
        status_code=result.status_code,
        error=result.error,
        remote_address=result.remote_address,
        response_headers=result.response_headers,
        response_body=result.response_body,
        retry_after=result.retry_after,
        started_at=started_at,
        duration_seconds=result.duration_seconds,
        unanswered=result.unanswered,
        phases=result.phases,
    )
