"""Which headers customers may add."""

from __future__ import annotations

import pytest

from app.core.webhook.headers import check_headers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", "Bearer abc"),
        ("X-Api-Key", "k"),
        ("x_odd!#$%&'*+.^`|~name", "v"),
        ("Content-Type", "application/cloudevents+json"),
        ("User-Agent", "mine"),
        ("X-Latin", "café ÿ"),
        ("X-Inner", 'a  b;c="d"'),
        ("Webhook", "not the prefix"),
    ],
)
def test_ordinary_headers_may_be_sent(name: str, value: str) -> None:
    assert check_headers({name: value}) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Host", "taken from the URL"),
        ("content-length", "connection"),
        ("Transfer-Encoding", "connection"),
        ("CONNECTION", "connection"),
        ("Keep-Alive", "connection"),
        ("Expect", "connection"),
        ("TE", "connection"),
        ("Trailer", "connection"),
        ("Upgrade", "connection"),
        ("HTTP2-Settings", "connection"),
        ("Content-Encoding", "exchange"),
        ("Accept-Encoding", "exchange"),
        ("Cookie", "Authorization"),
        ("Proxy-Authorization", "proxies"),
        ("proxy-connection", "proxies"),
        ("webhook-id", "set by Twofold"),
        ("Webhook-Signature", "set by Twofold"),
        ("webhook-anything", "set by Twofold"),
        ("webhook_id", "set by Twofold"),
        ("Proxy_Authorization", "proxies"),
        ("Content_Length", "connection"),
        ("", "not a header name"),
        ("X Y", "not a header name"),
        ("X:Y", "not a header name"),
        ("X\r\nY", "not a header name"),
        ("X\n", "not a header name"),
        (":authority", "not a header name"),
        ("Ü", "not a header name"),
        ("Ho\u017ft", "not a header name"),  # its capitals are HOST
    ],
)
def test_a_header_that_is_ours_or_malformed_is_refused(name: str, words: str) -> None:
    [(refused, reason)] = check_headers({name: "v"})
    assert refused == name
    assert words in reason


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (" v", "space"),
        ("v ", "space"),
        ("a\r\nX: y", "latin-1"),
        ("a\nb", "latin-1"),
        ("a\tb", "latin-1"),
        ("a\0b", "latin-1"),
        ("a\x7fb", "latin-1"),
        ("a\x85b", "latin-1"),
        ("a\u2028b", "latin-1"),
        ("a😀", "latin-1"),
        (5, "text"),
        (None, "text"),
        (["a"], "text"),
    ],
)
def test_a_value_that_would_not_arrive_as_it_is_is_refused(value: object, words: str) -> None:
    [(name, reason)] = check_headers({"X-Y": value})
    assert name == "X-Y"
    assert words in reason


def test_names_that_differ_in_capitals_only_are_one() -> None:
    [(name, reason)] = check_headers({"X-Key": "1", "x-kEY": "2"})
    assert (name, "twice" in reason) == ("x-kEY", True)


@pytest.mark.parametrize(("count", "problems"), [(0, 0), (20, 0), (21, 1)])
def test_there_may_be_twenty(count: int, problems: int) -> None:
    assert len(check_headers({f"X-{number}": "v" for number in range(count)})) == problems


@pytest.mark.parametrize(("length", "problems"), [(4096 - 3 - 4, 0), (4096 - 3 - 4 + 1, 1)])
def test_together_they_may_have_4_kib(length: int, problems: int) -> None:
    complaints = check_headers({"X-Y": "v" * length})
    assert len(complaints) == problems
    assert all(name == "" and "4096 bytes" in reason for name, reason in complaints)


def test_every_problem_is_told() -> None:
    assert [name for name, _ in check_headers({"Host": "h", "ok": "v", "X-Y": "", "webhook-id": "1"})] == [
        *("Host", "X-Y", "webhook-id")
    ]
