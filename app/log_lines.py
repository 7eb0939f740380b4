"""How every process of ours writes its log: as text, or as one JSON object a line where LOG_FORMAT says so.

Whatever the form, a line holds no query string and nothing that looks like a credential. A record may carry further
members for its JSON line: `log.warning("…", extra=members(trace_id=…))`.

gunicorn's master imports this module, so it imports nothing that reads settings or serves requests.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.core.log_line import as_json
from app.core.masking import mask
from app.core.wire.envelope import rfc3339

JSON, TEXT = "json", "text"  # values of LOG_FORMAT

# A query string may carry a stream token. It appears in no log: the access log has the path alone, and this takes it
# out of gunicorn's own error lines, tracebacks included.
QUERY = re.compile(r"\?[\w.~%+-]+=[^\s\"'<>]*")

# Members of a request's environ: its id, and the code of the Problem that it was answered with.
TRACE_ID, PROBLEM_CODE = "twofold.trace_id", "twofold.problem_code"

_MEMBERS = "twofold_members"


def members(**values: Any) -> dict[str, Any]:
    """What to give a call of logging as `extra`, so that its JSON line has these members."""
    return {_MEMBERS: values}


def clean(text: str) -> str:
    """The text without query strings and credentials."""
    return mask(QUERY.sub("?[redacted]", text))


class WithoutSecrets(logging.Formatter):
    """A formatter whose finished lines hold no query string and nothing that looks like a credential."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class JsonLines(logging.Formatter):
    """A formatter that makes one JSON object a line (app.core.log_line), clean as WithoutSecrets."""

    def format(self, record: logging.LogRecord) -> str:
        values: Mapping[str, Any] = getattr(record, _MEMBERS, {})
        exception = self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else ""
        return as_json(
            rfc3339(datetime.fromtimestamp(record.created, UTC)),
            record.levelname,
            record.name,
            record.process or 0,
            clean(record.getMessage()),
            {name: clean(value) if isinstance(value, str) else value for name, value in values.items()},
            clean(exception),
        )


def wants_json(environ: Mapping[str, str]) -> bool:
    """Whether LOG_FORMAT asks for JSON. What is neither form is refused where the settings are read."""
    return environ.get("LOG_FORMAT") == JSON


def formatter(environ: Mapping[str, str], text: logging.Formatter) -> logging.Formatter:
    """The formatter that LOG_FORMAT asks for. text: the one for text."""
    return JsonLines() if wants_json(environ) else text
