"""Events out of NDJSON, an array or one object: each as it was spelled, with what it lacks put before it."""

from __future__ import annotations

import io
import json

import pytest

from app.cli.command import CommandError
from app.cli.event_lines import completed, read_lines


def read(text: str) -> list[tuple[int, str]]:
    return [(line.number, line.event.decode()) for line in read_lines(io.BytesIO(text.encode()))]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("\n \n", []),
        ('{"a":1.0}\n', [(1, '{"a":1.0}')]),
        ('\n{"a": 1.0}\r\n\n {"b":2}', [(2, '{"a": 1.0}'), (4, '{"b":2}')]),
        ('{"a":1}\nnot json\n', [(1, '{"a":1}'), (2, "not json")]),  # the server names it; its neighbours are sent
        ('[{"a":1.0},\n {"b": [1,\n2]}]', [(1, '{"a":1.0}'), (2, '{"b":[1,2]}')]),
        ('[{"a":1}]', [(1, '{"a":1}')]),
        ("[]", []),
        ('{\n "a": 1.0,\n "b": "x\\n y"\n}\n', [(1, '{"a":1.0,"b":"x\\n y"}')]),
    ],
)
def test_the_events_of_a_file(text: str, found: list[tuple[int, str]]) -> None:
    assert read(text) == found


@pytest.mark.parametrize("text", ["hello", '{"a":1', "[1,2", '{"a":1}}', '[{"a":1}]\n[{"b":1}]'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(CommandError, match="the input is not JSON, nor one JSON object on each line: "):
        read(text)


DEFAULTS = {"type": "call.started", "idempotency_key": "k:1"}


@pytest.mark.parametrize(
    ("event", "made"),
    [
        ('{"data":{"a":1.0}}', '{"type":"call.started","idempotency_key":"k:1","data":{"a":1.0}}'),
        ('{ "type" :"x","data":{}}', '{"idempotency_key":"k:1","type" :"x","data":{}}'),
        ('{"data":{"type":"inner"}}', '{"type":"call.started","idempotency_key":"k:1","data":{"type":"inner"}}'),
        ('{"type":"x","idempotency_key":null}', '{"type":"x","idempotency_key":null}'),
        ("{}", '{"type":"call.started","idempotency_key":"k:1"}'),
        ("[1]", "[1]"),
        ("not json", "not json"),
    ],
)
def test_what_an_event_lacks_is_put_before_it(event: str, made: str) -> None:
    assert completed(event.encode(), DEFAULTS).decode() == made
    if event.startswith("{"):
        assert json.loads(made)["idempotency_key"] in ("k:1", None)
