"""Receivers that answer in good form, and whose answer invites a sender to a mistake."""

from __future__ import annotations

from app.core.webhook.retry import Outcome
from app.zoo.receiver import Expected, Group, Receiver, http_error
from app.zoo.steps import ReadRequest, Send, Stall, answer_each


def _answer(status: str, headers: tuple[str, ...] = (), body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def _status(name: str, summary: str, status: str, *headers: str, body: bytes = b"") -> Receiver:
    code = int(status[:3])
    steps = answer_each(Send(_answer(status, headers, body)))
    return Receiver(name, summary, steps, http_error(code), Group.STATUS)


def _with_body(name: str, status: str, outcome: Outcome) -> Receiver:
    """An answer that must not have a body, and has one: what follows its head belongs to nothing."""
    code = int(status[:3])
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello".encode()
    summary = f"answers {code} with a body, which it must not have"
    return Receiver(name, summary, (ReadRequest(), Send(answer), Stall()), (Expected(outcome, code),), Group.STATUS)


STATUSES = (
    _with_body("204-with-body", "204 No Content", Outcome.SUCCESS),
    _with_body("304-with-body", "304 Not Modified", Outcome.HTTP_ERROR),
    _status("redirect-to-itself", "redirects to itself", "307 Temporary Redirect", "Location: /redirect-to-itself"),
    _status("redirect-to-loopback", "redirects to this machine", "302 Found", "Location: http://127.0.0.1:22/"),
    _status(
        "redirect-to-metadata",
        "redirects to a cloud's metadata",
        "308 Permanent Redirect",
        "Location: http://169.254.169.254/latest/meta-data/",
    ),
    _status("redirect-to-file", "redirects to a file", "301 Moved Permanently", "Location: file:///etc/passwd"),
    _status("redirect-nowhere", "redirects without saying where", "303 See Other"),
    _status("asks-for-basic", "asks for a password", "401 Unauthorized", 'WWW-Authenticate: Basic realm="zoo"'),
    _status("asks-for-negotiate", "asks for Kerberos", "401 Unauthorized", "WWW-Authenticate: Negotiate, NTLM"),
    _status("asks-as-proxy", "asks as a proxy would", "407 Proxy Authentication Required", "Proxy-Authenticate: Basic"),
    _status("request-timeout", "answers 408, after which browsers send again", "408 Request Timeout"),
    _status("gone", "answers 410: it wants no more webhooks", "410 Gone"),
    _status("expectation-failed", "answers 417, after which curl sends again", "417 Expectation Failed"),
    _status("misdirected", "answers 421, after which HTTP/2 clients send again", "421 Misdirected Request"),
    _status("too-early", "answers 425, after which browsers send again", "425 Too Early"),
    _status(
        "upgrade-required",
        "answers 426 and offers HTTP/2 without TLS",
        "426 Upgrade Required",
        "Connection: Upgrade",
        "Upgrade: h2c",
    ),
    _status(
        "retry-after-seconds",
        "answers 429 and asks for a wait of two minutes",
        "429 Too Many Requests",
        "Retry-After: 120",
    ),
    _status(
        "retry-after-date",
        "answers 429 and asks for a wait until a date",
        "429 Too Many Requests",
        "Retry-After: Wed, 21 Oct 2099 07:28:00 GMT",
    ),
    _status(
        "retry-after-past",
        "answers 429 and asks for a wait until a date that has passed",
        "429 Too Many Requests",
        "Retry-After: Sun, 06 Nov 1994 08:49:37 GMT",
    ),
    _status(
        "retry-after-absurd",
        "answers 429 and asks for a wait of 200 digits",
        "429 Too Many Requests",
        f"Retry-After: {'9' * 200}",
    ),
    _status(
        "retry-after-garbage",
        "answers 503 and asks for a wait that is no time",
        "503 Service Unavailable",
        "Retry-After: -1, soon",
    ),
    _status("unavailable", "answers 503 and asks for a wait of a minute", "503 Service Unavailable", "Retry-After: 60"),
    _status("internal-error", "answers 500 with a short body", "500 Internal Server Error", body=b"oops"),
    _status("status-999", "answers with a status that nobody has defined", "999 Request Denied"),
)
