"""Contract files: the product's own load, and every mistake in one is named with its file, its line and the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.contracts import load
from app.contracts.load import ContractFileError, Schemas

GOOD = """# A fifth contract.
name = "rooms"
about = "Who is in a room"

[[streams]]
kind = "room"
id_pattern = "room_[0-9]+"
ends = [{ type = "state", field = "state", values = ["closed"] }]

[[streams]]
kind = "hall"

[[routes]]
name = "mint"
does = "mint"
path = "/rooms/{room_id}/token"
kind = "room"
id = "path:room_id"
credentials = ["key:bearer"]
mints = "live"
mint_fields = ["url", "token", "expires_at"]

[[routes]]
name = "live"
path = "/rooms/{room_id}/live"
kind = "room"
id = "path:room_id"
credentials = ["key:bearer", "token:query"]
frame = { event = true, id = true, data = "payload" }
types = ["state"]
hide = [{ type = "state", attribute = "secret", equals = "yes" }]
opening = { event = "hello", data = { at = "$now" } }
heartbeat_seconds = 20
replay = "cursor"
ended = "last"
ended_type = "state"

[[routes]]
name = "talk"
does = "websocket"
path = "/halls"
kind = "hall"
id = "query:hall"
credentials = ["key:query"]
inbound_type = "said"

[routes.frame]
event = false
id = false
data = "flat"
members = { kind = "$type", v = "1" }

[errors]
not_found = { code = "NO_ROOM", message = "There is no such room." }

[[events]]
kind = "room"
type = "state"
check = "reject"
schema = \'\'\'{"type": "object", "required": ["state"],
  "properties": {"state": {"enum": ["open", "closed"]}}}\'\'\'
example = { state = "open" }

[[events]]
kind = "hall"
type = "said"
schema = { type = "object" }
example = { words = "hello" }
"""

# (the text that is replaced, by what, a text on the line that is to be named, words of the reason)
MISTAKES = [
    ('name = "rooms"', 'name = "Rooms"', 'name = "Rooms"', "lowercase letter"),
    ('name = "rooms"', "name = 7", "name = 7", "must be a text"),
    ('name = "rooms"\n', "", "# A fifth contract.", "name: is missing"),
    ('name = "rooms"', 'name = "rooms"\ncolour = "red"', "colour", "colour: is not known here"),
    ('kind = "room"\nid_pattern', 'kind = "Room"\nid_pattern', 'kind = "Room"', "lowercase letter"),
    ('"room_[0-9]+"', '"room_["', "id_pattern", "not a regular expression"),
    ('field = "state", values', "values", "ends =", "go together"),
    ('{ type = "state", field = "state", values = ["closed"] }', '{ type = "stat" }', "ends =", "did you mean state?"),
    ('kind = "hall"\n\n', 'kind = "hall"\nlate = ["sad"]\n\n', 'late = ["sad"]', "did you mean said?"),
    ('kind = "hall"\n\n', 'kind = "hall"\nlate = ["state"]\n\n', 'late = ["state"]', "of the kind 'hall'"),
    ('id_pattern =', 'late = ["state"]\nid_pattern =', 'late = ["state"]', "'state', which ends the stream"),
    ('id_pattern =', 'late = "state"\nid_pattern =', 'late = "state"', "must be a list"),
    ('kind = "hall"\n\n', 'kind = "hall"\nlinger_seconds = 5\n\n', "linger_seconds = 5", "goes with late"),
    (
        'kind = "hall"\n\n', 'kind = "hall"\nlate = ["said"]\nlinger_seconds = 3601\n\n', "linger_seconds = 3601",
        "give 0 to 3600",
    ),
    ('kind = "hall"\n\n', 'kind = "_workspace"\n\n', 'kind = "_workspace"', "lowercase letter"),
    ('kind = "hall"\n\n[[routes]]', 'kind = "room"\n\n[[routes]]', 'kind = "room"\n\n', "twice"),
    ('does = "mint"', 'does = "mints"', 'does = "mints"', "did you mean mint?"),
    ('mints = "live"', 'mints = "life"', 'mints = "life"', "did you mean live?"),
    ('mints = "live"\n', "", '[[routes]]\nname = "mint"', "mints: goes with"),
    ('mint_fields = ["url", "token", "expires_at"]', 'mint_fields = ["uri"]', "mint_fields", "did you mean url?"),
    ('["key:bearer"]\nmints', '["token:bearer"]\nmints', '["token:bearer"]', "renew itself"),
    ('name = "live"\n', 'name = "mint"\n', 'name = "mint"\npath', "twice"),
    ('name = "talk"', 'name = "talk.live"', 'name = "talk.live"', "lowercase letters"),
    ('path = "/rooms/{room_id}/live"', 'path = "rooms"', 'path = "rooms"', "must look like"),
    ('path = "/rooms/{room_id}/live"', 'path = "/a b/{room_id}"', 'path = "/a b', "must look like"),
    ('path = "/rooms/{room_id}/live"', 'path = "/{room_id}/{room_id}"', 'path = "/{room_id}', "parameter twice"),
    ('path = "/rooms/{room_id}/live"', 'path = "/{room_id}/{other}"', 'path = "/{room_id}/{', "nothing reads"),
    ('path = "/rooms/{room_id}/live"', 'path = "/{kind}/{room_id}"', 'path = "/{kind}', "nothing reads"),
    ('path = "/rooms/{room_id}/live"', 'path = "/rooms"', 'id = "path:room_id"\ncredentials = ["key:bearer", ', "hold"),
    ('id = "query:hall"', 'id = "header:hall"', 'id = "header', "path:NAME"),
    ('id = "query:hall"', 'id = "query:"', 'id = "query:"', "path:NAME"),
    ('credentials = ["key:query"]', 'credentials = ["key:qery"]', "key:qery", "did you mean key:query?"),
    ('credentials = ["key:query"]', "credentials = []", "credentials = []", "give some of"),
    ('credentials = ["key:query"]', "credentials = [7]", "credentials = [7]", "must hold texts"),
    ('data = "payload" }', 'data = "paylod" }', "paylod", "did you mean payload?"),
    ('data = "payload" }', 'data = "payload", extra = 1 }', "extra = 1", "extra: is not known"),
    ("event = true, id", 'event = "yes", id', 'event = "yes"', "must be true or false"),
    ('data = "payload" }', 'data = "payload", members = { a = "$id" } }', "members = { a", "choose flat"),
    ('v = "1" }', 'v = "$sequence" }', "$sequence", "$seq"),
    ('v = "1" }', "v = 1 }", "v = 1", "must be a text"),
    ('types = ["state"]', 'types = ["stat"]', 'types = ["stat"]', "did you mean state?"),
    ('attribute = "secret", ', "", "hide =", "go together"),
    ('event = "hello"', 'event = "error"', 'event = "error"', "not error, open"),
    ('event = "hello"', 'event = "a\\nid: 7"', "id: 7", "letters, digits"),
    ('at = "$now"', 'at = "$time"', "$time", "$time"),
    ('at = "$now"', "at = 2026-05-04T10:00:00Z", "at = 2026", "not valid JSON"),
    ('at = "$now"', "at = nan", "at = nan", "not valid JSON"),
    ("heartbeat_seconds = 20", "heartbeat_seconds = 0", "heartbeat_seconds", "give 1 to 3600"),
    ("heartbeat_seconds = 20", "heartbeat_seconds = true", "heartbeat_seconds", "whole number"),
    ("heartbeat_seconds = 20", "heartbeat_seconds = 1.5", "heartbeat_seconds", "whole number"),
    ("heartbeat_seconds = 20", 'heartbeat = "a\\nb"', "heartbeat =", "printable"),
    ("heartbeat_seconds = 20", "heartbeat_second = 20", "heartbeat_second ", "did you mean heartbeat_seconds?"),
    ("heartbeat_seconds = 20", "overflow_frames = 0", "overflow_frames", "give 1 to"),
    ('replay = "cursor"', 'replay = "window"', '[[routes]]\nname = "live"', "goes with replay"),
    ('replay = "cursor"', 'replay = "all"', 'replay = "all"', "give one of none, cursor, window"),
    ("id = true, data", "id = false, data", 'replay = "cursor"', "needs frame.id"),
    ('ended_type = "state"\n', "", '[[routes]]\nname = "live"', "ended_type: goes with"),
    ('ended_type = "state"', 'ended_type = "stat"', 'ended_type = "stat"', "did you mean state?"),
    ('inbound_type = "said"', 'inbound_type = "sayd"', 'inbound_type = "sayd"', "did you mean said?"),
    ('does = "websocket"', 'does = "sse"', 'inbound_type = "said"', 'goes with does = "websocket"'),
    ("not_found = {", "notfound = {", "notfound", "did you mean not_found?"),
    ('code = "NO_ROOM", message = "There is no such room."', 'code = "NO_ROOM"', "not_found", "message: is missing"),
    ("not_found = {", "not_found = { status = 200,", "not_found", "give 400 to 599"),
    ('kind = "room"\ntype = "state"', 'kind = "rom"\ntype = "state"', 'kind = "rom"', "did you mean room?"),
    ('type = "state"\ncheck', 'type = "open"\ncheck', 'type = "open"', "not error, open"),
    ('check = "reject"', 'check = "refuse"', 'check = "refuse"', "warn, reject"),
    ('{"type": "object", "required"', '{"type": "objekt", "required"', "objekt", "objekt"),
    ('{"type": "object", "required"', '{"type": "object" "required"', "schema = '''", "not valid JSON"),
    ('{"type": "object", "required"', '{"$ref": "#/nowhere", "required"', "nowhere", "nowhere"),
    ('{"type": "object", "required"', '{"$ref": "http://127.0.0.1:9/s", "required"', "127.0.0.1:9", "127.0.0.1:9"),
    ('example = { state = "open" }', 'example = { state = "ajar" }', "ajar", "does not fit its own schema"),
    ('example = { state = "open" }', "example = 7", "example = 7", "must be an object"),
    ('example = { state = "open" }', """example = '{"state": NaN}'""", "NaN", "not valid JSON"),
    ('example = { state = "open" }\n', "", '[[events]]', "example: is missing"),
    ('schema = { type = "object" }', 'schema = { type = "object"', "schema = { type", "at line"),
]  # fmt: skip


def write(directory: Path, text: str, name: str = "rooms.toml") -> Path:
    file = directory / name
    file.write_text(text, encoding="utf-8")
    return file


def test_the_products_own_contracts_load() -> None:
    rules = load.load(None)
    assert {found.name for found in rules.contracts} == {"aitronos", "atoms", "canonical", "serveka", "voicebip"}
    warnings: list[tuple[str, str]] = []
    schemas = Schemas(rules, lambda kind, type: warnings.append((kind, type)))
    for (kind, type), declared in rules.types.items():
        assert schemas.refuses(kind, type, declared.example) is None
    assert not warnings


def test_a_contract_of_ones_own_joins_them(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    rules = load.load(tmp_path)
    assert len(rules.contracts) == 6
    assert rules.ends("room", "state", {"state": "closed"})
    assert not rules.ends("room", "state", {"state": "open"})
    assert not rules.ends("hall", "state", {"state": "closed"})


@pytest.mark.parametrize(("old", "new", "named", "words"), MISTAKES, ids=[f"{m[1]}: {m[3]}" for m in MISTAKES])
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, named: str, words: str) -> None:
    assert GOOD.count(old) >= 1
    text = GOOD.replace(old, new, 1)
    with pytest.raises(ContractFileError) as caught:
        load.read_file(write(tmp_path, text))
    said = str(caught.value)
    assert words in said, said
    line = text[: text.index(named)].count("\n") + 1
    lines = [int(number) for number in re.findall(r"(?:, line |at line )(\d+)", said)]
    assert line in lines, f"line {line} is not named: {said}"


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("heartbeat_seconds = 20", "heartbeat_seconds = 0").replace('"Who is in a room"', "1")
    with pytest.raises(ContractFileError) as caught:
        load.read_file(write(tmp_path, text))
    assert [line.split(": ")[1] for line in str(caught.value).split("\n")] == ["about", "routes[1].heartbeat_seconds"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content, words in ((b"\xff", "utf-8"), (b"a = [", "at end of document"), (b"a = 1\na = 2\n", "overwrite")):
        file = tmp_path / "bad.toml"
        file.write_bytes(content)
        with pytest.raises(ContractFileError, match=re.escape(str(file))) as caught:
            load.read_file(file)
        assert words in str(caught.value)
    with pytest.raises(ContractFileError, match="not a folder"):
        load.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ([], "line 2: name: 'rooms' is taken by"),
        ([('name = "rooms"', 'name = "rooms_two"')], "routes[0].path: POST /rooms/{room_id}/token is taken"),
        ([('"rooms"', '"two"'), ("room_id", "other_id"), ("/token", "/key")], "GET /rooms/{other_id}/live is"),
    ],
)  # fmt: skip
def test_two_contracts_do_not_get_into_each_others_way(
    tmp_path: Path, changes: list[tuple[str, str]], words: str
) -> None:
    write(tmp_path, GOOD)
    text = GOOD
    for old, new in changes:
        text = text.replace(old, new)
    write(tmp_path, text, "second.toml")
    with pytest.raises(ContractFileError, match=re.escape(words)):
        load.load(tmp_path)


def test_a_reject_schema_says_what_it_has_against_a_payload(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    warnings: list[tuple[str, str]] = []
    schemas = Schemas(load.load(tmp_path), lambda kind, type: warnings.append((kind, type)))
    assert schemas.refuses("room", "state", {"state": "closed", "more": 1}) is None
    assert "refuses data.state: 'ajar' is not one of" in str(schemas.refuses("room", "state", {"state": "ajar"}))
    assert "refuses data: 'state' is a required" in str(schemas.refuses("room", "state", {}))
    for data, field in (({"state": "ajar"}, "data.state"), ({}, "data.state")):
        refusal = schemas.refuses("room", "state", data)
        assert refusal is not None
        assert refusal["field"] == field
    long = schemas.refuses("room", "state", {"state": "x" * 100_000})
    assert long is not None
    assert len(long["detail"]) < 700
    assert schemas.refuses("room", "unknown", {}) is None
    assert schemas.refuses("call", "turn_latency", []) is None
    assert warnings == [("call", "turn_latency")]


@pytest.mark.parametrize("check", ["reject", "warn"])
def test_a_schema_that_cannot_be_applied_breaks_nothing(tmp_path: Path, check: str) -> None:
    schema = '{"properties": {"n": {"multipleOf": 0.1}, "r": {"$ref": "#/nowhere"}}}'
    text = GOOD.replace('schema = { type = "object" }', f"check = '{check}'\nschema = '{schema}'")
    write(tmp_path, text)
    schemas = Schemas(load.load(tmp_path))
    for data in ({"n": 10**400}, {"r": 1}):
        refusal = schemas.refuses("hall", "said", data)
        assert (refusal is None) == (check == "warn")
        assert refusal is None or "cannot be applied" in refusal["detail"]
