"""The receiver that `twofold listen --forward-to` sends to: one POST each, as a delivery's, and what came of it."""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

from app.cli.command import CommandError, Status
from app.core.webhook.headers import DEFAULTS, FEED_CURSOR, signed

# What a program says that is there while the receiver behind it is not, or that asks to be sent it again.
DOWN = frozenset({429, 502, 503, 504})
_READ_BYTES = 65_536  # of an answer, as of a delivery's


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a POST. status: None without an answer; why: what went wrong then."""

    status: int | None
    milliseconds: int
    why: str = ""

    @property
    def is_down(self) -> bool:
        """Whether the receiver has not had the webhook, so that it is sent again."""
        return self.status is None or self.status in DOWN

    @property
    def is_good(self) -> bool:
        """Whether a delivery would be over."""
        return self.status is not None and 200 <= self.status < 300


class Receiver:
    """Where to send. secrets: that sign, newest first; with_cursor: whether webhooks carry a cursor of the feed."""

    def __init__(self, url: str, secrets: Sequence[str], timeout_seconds: float, *, with_cursor: bool = False) -> None:
        self.url = url
        self._secrets, self._timeout, self._with_cursor = secrets, timeout_seconds, with_cursor
        self._parts = urlsplit(url)

    def post(self, event_id: str, body: bytes, before: str) -> Answer:
        """Send a webhook once. before: a cursor of the feed before the event. Raises CommandError for a certificate
        that cannot be verified: trying again does not help."""
        began = time.monotonic()
        headers = signed({}, self._secrets, event_id, event_id, datetime.now(UTC), body)
        if self._with_cursor:
            headers.append((FEED_CURSOR, before))
        try:
            status, why = self._exchange(headers, body), ""
        except ssl.SSLCertVerificationError as error:
            told = f"the certificate of {self.url} cannot be verified ({error.verify_message}); forward to http://"
            raise CommandError(f"{told} on this machine, or trust it: SSL_CERT_FILE", Status.FAILED) from None
        except TimeoutError:
            status, why = None, f"no answer within {self._timeout:g} s"
        except (OSError, http.client.HTTPException) as error:
            status, why = None, _why(error)
        return Answer(status, round((time.monotonic() - began) * 1000), why)

    def _exchange(self, headers: Sequence[tuple[str, str]], body: bytes) -> int:
        # A connection for each: on one that was used before, an answer that is missing may mean either thing.
        https = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if https else http.client.HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=self._timeout)
        try:
            path = self._parts.path or "/"
            connection.putrequest(
                "POST", f"{path}?{self._parts.query}" if self._parts.query else path, skip_accept_encoding=True
            )
            for name, value in (*DEFAULTS, *headers, ("Content-Length", str(len(body)))):
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.read(_READ_BYTES)
            return answer.status
        finally:
            connection.close()


def checked_url(text: str) -> str:
    """The receiver's address. Raises CommandError for what is none."""
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme in ("http", "https") and parts.hostname and port != -1 and not parts.fragment:
        if "@" in parts.netloc or not text.isascii() or any(letter <= " " for letter in text):
            raise CommandError(f"{text!r}: leave out names, passwords, spaces and what is not ASCII", Status.USAGE)
        return text
    guess = f"http://localhost:{text}/" if text.isdigit() else f"http://{text}" if "://" not in text else ""
    hint = guess if guess and urlsplit(guess).hostname else "http://localhost:3000/hook"
    raise CommandError(f"{text!r} is no address to forward to; write it as {hint}", Status.USAGE)


def _why(error: Exception) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(error, http.client.RemoteDisconnected | ConnectionError):
        return "it closed the connection without an answer"
    return str(error) or type(error).__name__
