"""What can be wrong with a request, as one table (RFC 9457 problem details)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# code -> (HTTP status, title). The code is what programs match on; it never changes.
CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "invalid_json": (400, "The body is not valid JSON"),
    "unauthorized": (401, "A valid key is needed"),
    "forbidden": (403, "This key may not do that"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "This path does not allow that method"),
    "not_acceptable": (406, "That content type is not available here"),
    "request_timeout": (408, "The request took too long to arrive"),
    "conflict": (409, "That conflicts with what exists"),
    "stream_ended": (409, "The stream has ended"),
    "cursor_ahead": (409, "The cursor is ahead of the stream"),
    "cursor_lost": (409, "The events behind the cursor were lost"),
    "lease_held": (409, "Another reader has the lease"),
    "lease_lost": (409, "The lease is lost"),
    "idempotency_conflict": (409, "That idempotency key was used for another request"),
    "gone": (410, "No longer available"),
    "cursor_gone": (410, "The events behind the cursor are no longer kept"),
    "too_large": (413, "Too large"),
    "unsupported_media_type": (415, "That content type is not accepted here"),
    "invalid": (422, "A field is not valid"),
    "unknown_type": (422, "The event's type is not known"),
    "schema_mismatch": (422, "The event type's schema refuses this"),
    "upgrade_required": (426, "This path needs another protocol"),
    "too_many": (429, "A limit is reached"),
    "headers_too_large": (431, "The headers are too large"),
    "internal": (500, "Something broke on our side"),
    "unavailable": (503, "Not available right now"),
}


Complaint = dict[str, str]  # what is wrong with one field: {"field": "stream.kind", "detail": "must be …"}


# An answer must not grow with what was sent: 3.5 MB of unknown fields were once answered with 76 MB. Whoever has more
# than twenty wrong fields has one fault that makes them all.
MOST_COMPLAINTS = 20
MOST_NAME_LETTERS = 100  # of a field's name in an answer; ours have at most twenty


class Problem(Exception):
    """A refusal that the caller can act on.

    code: a key of CODES. detail: one sentence that says what is wrong and what to do. errors: for validation, what is
    wrong with each field. extra: further members of the problem object. retry_after_seconds: sent as Retry-After.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Complaint] = (),
        extra: dict[str, Any] | None = None,
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status, self.title = CODES[code]
        self.detail = detail
        self.errors = list(errors)
        self.extra = extra or {}
        self.retry_after_seconds = retry_after_seconds

    def alone(self) -> Problem:
        """Itself, without how it came about. To be kept as an answer: its traceback would keep the frames that it came
        through and those of their callers, with all that they hold, the answer itself included."""
        self.__traceback__ = self.__cause__ = self.__context__ = None
        return self

    def body(self, trace_id: str) -> dict[str, Any]:
        """The application/problem+json object (RFC 9457 section 3) as a dict."""
        answer: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            "trace_id": trace_id,
        }
        if self.errors:
            answer["errors"] = self.errors
        answer.update(self.extra)
        return answer


def not_found(what: str) -> Problem:
    """The one answer for an absent thing and for a thing of another workspace: nothing tells them apart."""
    return Problem("not_found", f"There is no such {what} in this workspace.")


def complaint(field: str, detail: str) -> Complaint:
    """What is wrong with one field. A long name is cut: the caller chose it, and gets it back twice."""
    return {"field": field if len(field) <= MOST_NAME_LETTERS else f"{field[:MOST_NAME_LETTERS]}…", "detail": detail}


def invalid_fields(complaints: Sequence[Complaint]) -> Problem:
    """A validation problem that names the wrong fields, the first MOST_COMPLAINTS of them."""
    named = complaints[:MOST_COMPLAINTS]
    detail = "; ".join(f"{one['field']}: {one['detail']}" for one in named)
    if len(named) < len(complaints):
        detail += "; and more fields are wrong"
    return Problem("invalid", detail, errors=named)


def invalid(field: str, detail: str) -> Problem:
    """A validation problem about one field."""
    return invalid_fields([complaint(field, detail)])


def first_line(error: BaseException) -> str:
    """The first line of an error's text, for a log line: drivers append the statement and hints below it."""
    return str(error).partition("\n")[0]
