"""What the web processes log: gunicorn's lines, ours, and one for each answer. gunicorn.conf.py hooks it in.

The master imports this module, so it imports neither flask nor anything that reads settings.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gunicorn import glogging

from app.core.wire.envelope import rfc3339
from app.log_lines import PROBLEM_CODE, TRACE_ID, WithoutSecrets, formatter, members, wants_json

# Members of a JSON line of the access log, and what access_log_format calls them.
ACCESS = {
    "method": "m",
    "path": "U",
    "status": "s",
    "bytes": "B",
    "duration_ms": "M",
    "trace_id": "i",
    "remote_address": "h",
    "user_agent": "a",
}
# What is needed of a request's environ when its answer is over.
LOGGED = ("REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "HTTP_USER_AGENT", TRACE_ID, PROBLEM_CODE)


class Logger(glogging.Logger):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn's logger, and the root's, through which our own modules speak. LOG_FORMAT says in which form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        self._json = wants_json(os.environ)
        spoken = formatter(os.environ, WithoutSecrets(self.error_fmt, self.datefmt))
        self._set_handler(logging.getLogger(), cfg.errorlog, spoken)
        for handler in self.error_log.handlers:
            handler.setFormatter(spoken)
        for handler in self.access_log.handlers:
            handler.setFormatter(formatter(os.environ, WithoutSecrets(self.access_fmt)))
        logging.captureWarnings(self._json)

    def access(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: Any) -> None:
        """One line for one answer. With its trace id, which the answer has in X-Request-Id."""
        if not self._json:
            super().access(resp, req, environ, request_time)
            return
        parts = self.atoms(resp, req, environ, request_time)
        values = {name: parts[part] for name, part in ACCESS.items()} | {"status": int(parts["s"])}
        what = "%s %s %s", values["method"], values["path"], values["status"]
        self.access_log.info(*what, extra=members(**values, code=environ.get(PROBLEM_CODE)))

    def atoms(self, resp: Any, req: Any, environ: Mapping[str, Any], request_time: Any) -> dict[str, Any]:
        """What access_log_format may name. gunicorn's own lists every header of request and answer, each time."""
        return {
            "t": rfc3339(datetime.now(UTC)),
            "h": environ.get("REMOTE_ADDR", "-"),
            "m": environ.get("REQUEST_METHOD", "-"),
            "U": environ["RAW_URI"].partition("?")[0],  # as sent: a decoded path could forge log lines with %0A
            "s": str(resp.status).partition(" ")[0],
            "B": getattr(resp, "sent", None),
            "M": int(request_time.total_seconds() * 1000),
            "i": environ.get(TRACE_ID, "-"),
            "a": environ.get("HTTP_USER_AGENT", "-"),
        }
