"""The demo's customer: a webhook receiver on this machine that verifies what it gets and writes it down."""

from __future__ import annotations

import threading
from types import TracebackType

from app.client.books.bookkeeper import Receiver
from app.client.receiving import WebhookServer

POLL_SECONDS = 0.05  # how soon it notices that it is to end


class DemoReceiver:
    """An HTTP server on a free port of 127.0.0.1. It answers 503 until it has a page in the books."""

    def __init__(self) -> None:
        self.page: Receiver | None = None
        self._server = WebhookServer(0, self._take)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": POLL_SECONDS}, daemon=True
        )

    @property
    def url(self) -> str:
        """Where webhooks are to be sent."""
        return f"http://127.0.0.1:{self._server.server_port}/webhooks"

    def __enter__(self) -> DemoReceiver:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        """204 for a webhook that verifies."""
        if self.page is None:
            return 503
        return 204 if self.page.got(headers, body) else 400
