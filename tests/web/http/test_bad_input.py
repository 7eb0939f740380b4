# ruff: noqa: E501 - a case is easier to compare with its neighbours on one line
"""Whatever comes in, the answer is a problem that says what to do; nothing is stored and no traceback is logged."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import text

from app.database.connection import Database
from app.database.tables import Base
from tests.web.doors import Door

Watch = Callable[[], AbstractContextManager[None]]
JSON = "application/json"
MIB = 2**20
DEEP = b'{"attributes":' + b'{"a":' * 100 + b"1" + b"}" * 101
DEEPER = b'{"attributes":' + b"[" * 200_000
URL = b'"url":"https://example.com/"'


@dataclass
class Case:
    """A request and what must come of it: the status, the code, and words of the detail."""

    what: str
    path: str
    body: bytes
    status: int
    code: str
    phrase: str
    method: str = "POST"
    content_type: str = JSON


CASES = [
    Case("nothing", "/v1/endpoints", b"", 415, "unsupported_media_type", "Content-Type: application/json", content_type=""),
    Case("no content type", "/v1/endpoints", b"{}", 415, "unsupported_media_type", "this request has none", content_type=""),
    Case("a form", "/v1/endpoints", b"url=x", 415, "unsupported_media_type", "urlencoded", content_type="application/x-www-form-urlencoded"),
    Case("latin-1", "/v1/endpoints", b"{}", 415, "unsupported_media_type", "latin", content_type="application/json; charset=latin-1"),
    Case("an empty body", "/v1/endpoints", b"", 400, "invalid_json", "empty"),
    Case("not JSON", "/v1/endpoints", b"{url: 1}", 400, "invalid_json", "line 1, column 2"),
    Case("cut off", "/v1/endpoints", b"{" + URL, 400, "invalid_json", "not valid JSON"),
    Case("two values", "/v1/endpoints", b"{} {}", 400, "invalid_json", "not valid JSON"),
    Case("a trailing comma", "/v1/endpoints", b"{" + URL + b",}", 400, "invalid_json", "not valid JSON"),
    Case("NaN", "/v1/endpoints", b'{"rate_limit":NaN}', 400, "invalid_json", "NaN"),
    Case("infinity", "/v1/endpoints", b'{"rate_limit":-Infinity}', 400, "invalid_json", "Infinity"),
    Case("invalid UTF-8", "/v1/endpoints", b'{"description":"\xff"}', 400, "invalid_json", "byte 16"),
    Case("UTF-16", "/v1/endpoints", "{}".encode("utf-16"), 400, "invalid_json", "UTF-8"),
    Case("a byte order mark", "/v1/endpoints", b"\xef\xbb\xbf{}", 400, "invalid_json", "byte order mark"),
    Case("a NUL byte", "/v1/endpoints", b'{"description":"a\0b"}', 400, "invalid_json", "control character"),
    Case("an escaped NUL", "/v1/endpoints", b'{"description":"a\\u0000b"}', 422, "invalid", "NUL"),
    Case("half a surrogate pair", "/v1/endpoints", b"{" + URL + b',"description":"\\ud83d"}', 422, "invalid", "surrogate"),
    Case("a list", "/v1/endpoints", b"[]", 422, "invalid", "must be a JSON object"),
    Case("a number", "/v1/endpoints", b"7", 422, "invalid", "must be a JSON object"),
    Case("null", "/v1/endpoints", b"null", 422, "invalid", "must be a JSON object"),
    Case("a field twice", "/v1/endpoints", b"{" + URL + b"," + URL + b"}", 422, "invalid", "url: is given twice"),
    Case("a header twice", "/v1/endpoints", b"{" + URL + b',"headers":{"A":"1","A":"2"}}', 422, "invalid", "A: is given twice"),
    Case("a field missing", "/v1/endpoints", b"{}", 422, "invalid", "url: is missing"),
    Case("an unknown field", "/v1/endpoints", b"{" + URL + b',"event_type":[]}', 422, "invalid", "did you mean event_types?"),
    Case("a far-off field", "/v1/endpoints", b"{" + URL + b',"zzz":1}', 422, "invalid", "zzz: unknown field; this request takes uid, url"),
    Case("a number for a text", "/v1/endpoints", b'{"url":7}', 422, "invalid", "url: must be a string, not a number"),
    Case("null for a text", "/v1/endpoints", b'{"url":null}', 422, "invalid", "url: must not be null"),
    Case("a text for a list", "/v1/endpoints", b"{" + URL + b',"event_types":"call.*"}', 422, "invalid", "must be an array of strings, not a string"),
    Case("a number in a list", "/v1/endpoints", b"{" + URL + b',"event_types":["a",7]}', 422, "invalid", "event_types[1]: must be a string"),
    Case("an empty filter", "/v1/endpoints", b"{" + URL + b',"event_types":[]}', 422, "invalid", "1 to 100 entries"),
    Case("a bad pattern", "/v1/endpoints", b"{" + URL + b',"event_types":["*.ended"]}', 422, "invalid", "a prefix such as call.*"),
    Case("true for a number", "/v1/endpoints", b"{" + URL + b',"rate_limit":true}', 422, "invalid", "whole number, not true or false"),
    Case("a fraction", "/v1/endpoints", b"{" + URL + b',"rate_limit":1.5}', 422, "invalid", "whole number"),
    Case("too many digits", "/v1/endpoints", b"{" + URL + b',"rate_limit":' + b"9" * 10_000 + b"}", 422, "invalid", "rate_limit"),
    Case("zero", "/v1/endpoints", b"{" + URL + b',"rate_limit":0}', 422, "invalid", "from 1 to 10000"),
    Case("an unknown choice", "/v1/endpoints", b"{" + URL + b',"signing":"rsa"}', 422, "invalid", "one of hmac, ed25519"),
    Case("a blocked address", "/v1/endpoints", b'{"url":"http://169.254.169.254/"}', 422, "invalid", "url: resolves to a blocked address (link-local, "),
    Case("another scheme", "/v1/endpoints", b'{"url":"ftp://example.com/"}', 422, "invalid", "https://"),
    Case("a refused header", "/v1/endpoints", b"{" + URL + b',"headers":{"Host":"a"}}', 422, "invalid", "headers.Host"),
    Case("a header that is no text", "/v1/endpoints", b"{" + URL + b',"headers":{"A":1}}', 422, "invalid", "headers.A: must be a string"),
    Case("a long text", "/v1/endpoints", b"{" + URL + b',"description":"' + b"x" * 1001 + b'"}', 422, "invalid", "0 to 1000 characters"),
    Case("a body too large", "/v1/endpoints", b'{"description":"' + b"x" * MIB + b'"}', 413, "too_large", "262144 bytes"),
    Case("too deep", "/v1/streams/call/c1", DEEP, 400, "invalid_json", "deeper than 64", "PUT"),
    Case("far too deep", "/v1/streams/call/c1", DEEPER, 400, "invalid_json", "deeper than 64", "PUT"),
    Case("a huge number inside", "/v1/streams/call/c1", b'{"attributes":{"n":1e999}}', 422, "invalid", "too large", "PUT"),
    Case("a surrogate inside", "/v1/streams/call/c1", b'{"attributes":{"a":["\\udc00"]}}', 422, "invalid", "surrogate", "PUT"),
    Case("attributes too large", "/v1/streams/call/c1", b'{"attributes":{"a":"' + b"x" * 20_000 + b'"}}', 413, "too_large", "16384", "PUT"),
    Case("a bad kind", "/v1/streams/Call/c1", b"{}", 422, "invalid", "kind: must be a lowercase letter", "PUT"),
    Case("a bad stream id", "/v1/streams/call/c%201", b"{}", 422, "invalid", "stream_id: must be 1 to 200", "PUT"),
    Case("a NUL in the path", "/v1/streams/call/c%001", b"{}", 422, "invalid", "stream_id", "PUT"),
    Case("an id that is none", "/v1/endpoints/ep_1", b"{}", 404, "not_found", "no such endpoint", "PATCH"),
    Case("an id of another thing", "/v1/endpoints/key_01k00000000000000000000000", b"{}", 404, "not_found", "no such endpoint", "PATCH"),
    Case("an id of the year 10889", "/v1/endpoints/ep_7zzzzzzzzzzzzzzzzzzzzzzzzz", b"{}", 404, "not_found", "no such endpoint", "PATCH"),
    Case("a body where none belongs", "/v1/deliveries/dlv_01k00000000000000000000000/retry", b'{"a":1}', 422, "invalid", "a: unknown field; this request takes no body"),
    Case("a type that is none", "/v1/endpoints/ep_01k00000000000000000000000/test", b'{"type":"a b"}', 422, "invalid", "type: must be 1 to 128"),
    Case("a bad uid", "/v1/workspaces", b'{"name":"x","uid":"a b"}', 422, "invalid", "uid: must be 1 to 128"),
    Case("a uid that clients collapse", "/v1/workspaces", b'{"name":"x","uid":".."}', 422, "invalid", "other than . and .."),
    Case("no scopes", "/v1/keys", b'{"name":"x","scopes":[]}', 422, "invalid", "scopes: must have 1 to 4"),
    Case("an unknown scope", "/v1/keys", b'{"name":"x","scopes":["admin"]}', 422, "invalid", "scopes[0]: must be one of publish"),
    Case("a time without offset", "/v1/endpoints/ep_01k00000000000000000000000/recover", b'{"since":"2026-01-01T00:00:00"}', 422, "invalid", "with its offset"),
    Case("no such path", "/v1/nothing", b"{}", 404, "not_found", "/docs lists them"),
    Case("a trailing slash", "/v1/endpoints/", b"{}", 404, "not_found", "/docs lists them"),
    Case("a doubled slash", "//v1//endpoints", b"{}", 404, "not_found", "/docs lists them"),
    Case("another method", "/v1/keys", b"{}", 405, "method_not_allowed", "takes GET", "PUT"),
    Case("a made-up method", "/v1/keys", b"{}", 405, "method_not_allowed", "not BREW", "BREW"),
    # Events, which are read apart because their payload keeps its spelling.
    Case("no event", "/v1/events", b"", 400, "invalid_json", "empty"),
    Case("an event that is no JSON", "/v1/events", b"{", 400, "invalid_json", "not valid JSON"),
    Case("an event in a form", "/v1/events", b"a=b", 415, "unsupported_media_type", "application/json", content_type="text/plain"),
    Case("an event of nothing", "/v1/events", b"{}", 422, "invalid", "data: is missing"),
    Case("an event's stream null", "/v1/events", b'{"stream":null,"type":"c","data":{}}', 422, "invalid", "or leave it out"),
    Case("an event of an own stream", "/v1/events", b'{"stream":{"kind":"_workspace","id":"a"},"type":"c","data":{}}', 422, "invalid", "leave stream out"),
    Case("an event's metadata nested", "/v1/events", b'{"type":"c","data":{},"metadata":{"a":{}}}', 422, "invalid", "metadata.a: must be a text"),
    Case("an event's channel misspelled", "/v1/events", b'{"type":"c","data":{},"channels":["a b"]}', 422, "invalid", "channels[0]: must be 1 to 64"),
    Case("an event's unknown field", "/v1/events", b'{"stream":{"kind":"a","id":"b"},"type":"c","data":{},"datum":1}', 422, "invalid", "datum: unknown field"),
    Case("an event's field twice", "/v1/events", b'{"stream":{"kind":"a","id":"b"},"type":"c","data":{},"data":{}}', 422, "invalid", "twice"),
    Case("an event's data a list", "/v1/events", b'{"stream":{"kind":"a","id":"b"},"type":"c","data":[]}', 422, "invalid", "data: must be an object"),
    Case("an event with invalid UTF-8", "/v1/events", b'{"type":"\xc3("}', 400, "invalid_json", "UTF-8"),
    Case("an event with NUL", "/v1/events", b'{"stream":{"kind":"a","id":"b"},"type":"c","data":{"a":"\\u0000"}}', 422, "invalid", "NUL"),
    Case("an event too large", "/v1/events", b'{"data":"' + b"x" * 300_000 + b'"}', 413, "too_large", "262144"),
    Case("a request too large", "/v1/events", b'{"data":"' + b"x" * 5 * MIB + b'"}', 413, "too_large", "4194304"),
    Case("an event too deep", "/v1/events", b'{"data":' + b"[" * 100_000, 400, "invalid_json", "deeper than"),
    Case("a reserved type", "/v1/events", b'{"stream":{"kind":"a","id":"b"},"type":"error","data":{}}', 422, "invalid", "reserved"),
    Case("a type with a line break", "/v1/events", b'{"stream":{"kind":"a","id":"b"},"type":"a\\nid: 7","data":{}}', 422, "invalid", "type: must be 1 to 128 letters"),
]  # fmt: skip

QUERIES = [
    ("/v1/endpoints?limit=0", "limit", "from 1 to 250"),
    ("/v1/endpoints?limit=251", "limit", "from 1 to 250"),
    ("/v1/endpoints?limit=ten", "limit", "whole number"),
    ("/v1/endpoints?limit=%D9%A1", "limit", "whole number"),
    ("/v1/endpoints?limit=1&limit=2", "limit", "more than once"),
    ("/v1/endpoints?limt=1", "limt", "did you mean limit?"),
    ("/v1/endpoints?cursor=abc", "cursor", "unchanged"),
    (
        "/v1/endpoints/ep_01k00000000000000000000000?x=1",
        "x",
        "unknown parameter; this request takes no query parameters",
    ),
    ("/v1/streams?status=closed", "status", "one of open, ended"),
    ("/v1/streams?kind=Call", "kind", "must be a lowercase letter"),
    ("/v1/events?type=%00", "type", "NUL"),
    ("/v1/events?stream_id=c1", "stream_id", "needs stream_kind"),
    ("/v1/events?after_seq=1", "after_seq", "needs stream_id"),
    ("/v1/events?stream_kind=call&stream_id=c1&after_seq=-1", "after_seq", "from 0"),
    ("/v1/events?stream_kind=call&stream_id=c1&after_seq=99999999999999999999", "after_seq", "whole number"),
]


@pytest.fixture
def untouched(
    platform: Door, acme: Door, database: Database, caplog: pytest.LogCaptureFixture
) -> Callable[[], AbstractContextManager[None]]:
    """Fails when a request has stored anything or logged a traceback."""

    @contextmanager
    def watch() -> Iterator[None]:
        before = rows(database)
        caplog.clear()
        with caplog.at_level(logging.DEBUG):
            yield
        assert rows(database) == before
        assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR] == []
        assert "Traceback" not in caplog.text

    return watch


def test_a_request_that_cannot_be_taken_is_explained(
    platform: Door, acme: Door, untouched: Watch, subtests: pytest.Subtests
) -> None:
    headers = {"Authorization": f"Bearer {platform.key}", "X-Workspace": "acme"}
    for case in CASES:
        with subtests.test(case.what), untouched():
            response = acme.client.open(
                case.path, method=case.method, data=case.body, headers=headers, content_type=case.content_type or None
            )
            explained(response, case.status, case.code, case.phrase)


def test_a_query_that_cannot_be_taken_is_explained(acme: Door, untouched: Watch, subtests: pytest.Subtests) -> None:
    for path, field, phrase in QUERIES:
        with subtests.test(path), untouched():
            problem = acme.get(path, 422)
            assert problem["errors"][0]["field"] == field
            assert phrase in problem["errors"][0]["detail"]


def test_a_body_of_unknown_length_has_the_same_limit(acme: Door, untouched: Watch) -> None:
    """Whether it is cut off at the limit would show in NDJSON, where the lines before are whole."""
    line = b'{"stream":{"kind":"call","id":"c1"},"type":"a","data":{}}\n'
    for path, content_type, body, most in (
        ("/v1/endpoints", JSON, b'{"description":"' + b"x" * MIB, "262144 bytes"),
        ("/v1/events", "application/x-ndjson", line + b" " * 5 * MIB, "4194304 bytes"),
    ):
        endless = BytesIO(body)
        with untouched():
            response = acme.client.post(
                path,
                input_stream=endless,
                headers={"Authorization": f"Bearer {acme.key}", "Transfer-Encoding": "chunked"},
                content_type=content_type,
                environ_overrides={"wsgi.input_terminated": True},
            )
            explained(response, 413, "too_large", most)
        assert endless.tell() < len(body)


def test_every_wrong_field_is_named_at_once(acme: Door) -> None:
    problem = acme.post("/v1/endpoints", {"rate_limit": 0, "stream_kinds": ["Call"], "x": 1}, 422)
    assert [error["field"] for error in problem["errors"]] == ["x", "url", "stream_kinds[0]", "rate_limit"]


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
def test_an_idempotency_key_has_a_form(acme: Door, key: str) -> None:
    problem = acme.post("/v1/keys", {"name": "x", "scopes": ["publish"]}, 422, headers={"Idempotency-Key": key})
    assert problem["errors"][0]["field"] == "Idempotency-Key"


def test_a_proper_request_id_is_kept_and_another_is_replaced(acme: Door) -> None:
    kept = acme.ask("GET", "/v1/nothing", headers={"X-Request-Id": "req-1.a_b"})
    assert kept.headers["X-Request-Id"] == kept.get_json()["trace_id"] == "req-1.a_b"
    for bad in ("", "a b", "x" * 65, "é", "<script>"):
        replaced = acme.ask("GET", "/v1/nothing", headers={"X-Request-Id": bad})
        assert len(replaced.get_json()["trace_id"]) == 32


def explained(response: Any, status: int, code: str, phrase: str) -> None:
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    problem = json.loads(response.data)
    assert problem["code"] == code
    assert problem["status"] == status
    assert phrase in problem["detail"], problem["detail"]
    assert problem["trace_id"] == response.headers["X-Request-Id"]


def rows(database: Database) -> dict[str, int]:
    with database.begin() as connection:
        return {
            name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in Base.metadata.tables
        }


def test_an_answer_does_not_grow_with_the_number_of_wrong_fields(acme: Door) -> None:
    """3.5 MB of unknown fields were once answered with 76 MB, after minutes of looking for similar names."""
    fields = ",".join(f'"unknown_{number}":1' for number in range(12_000))
    response = acme.ask("POST", "/v1/endpoints", data=b"{" + fields.encode() + b"}", content_type=JSON)
    assert response.status_code == 422
    assert len(response.get_json()["errors"]) == 20
    assert "and more fields are wrong" in response.get_json()["detail"]
    assert len(response.data) < 10_000


def test_a_long_name_is_cut_in_the_answer(acme: Door) -> None:
    body = json.dumps({"x" * 200_000: 1}).encode()
    response = acme.ask("POST", "/v1/endpoints", data=body, content_type=JSON)
    assert response.status_code == 422
    assert len(response.data) < 2_000


def test_each_event_of_a_batch_is_answered_in_bounds(acme: Door) -> None:
    events = [{f"unknown_{n}": n for n in range(400)} for _ in range(200)]
    response = acme.ask("POST", "/v1/events", json=events)
    assert response.status_code == 202
    assert len(response.data) < 200 * 6_000
