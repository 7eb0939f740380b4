"""The contracts are data: every type and field of the documents stands in a file, and no name of one in the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.contracts import load
from app.core.contract.model import EventType
from tests.contracts.clauses import CLAUSES, KINDS
from tests.contracts.conformance import ROOT, SUITES

RULES = load.load(None)
FILES = {path.stem for path in load.OWN.glob("*.toml")}
# Contract -> kind -> type -> the fields that the document names. `canonical` is our own.
MESSAGE = {"message_id", "direction", "text", "status"}
NONE: set[str] = set()  # named in the document without fields
DOCUMENTED: dict[str, dict[str, dict[str, set[str]]]] = {
    "serveka": {
        "bot": {
            "transcript_segment": {"speaker", "text", "timestamp", "is_final"},
            "bot_status": {"status", "timestamp"},
            "participant_update": {"participants"},
            "action_detected": {"action_type", "data"},
            "recording_ready": {"recording_url"},
        }
    },
    "voicebip": {
        "conversation": {
            "message.received": MESSAGE,
            "message.sent": MESSAGE,
            "message.delivered": MESSAGE,
            "message.failed": MESSAGE,
            "conversation.mode_changed": {"from_mode", "to_mode", "actor_user_id"},
        },
        "call": {
            "call.transcript": {"role", "text"},
            "call.barge_in": NONE,
            "call.idle_silence": NONE,
            "call.quality_degraded": NONE,
            "call.ended": NONE,
            "call.control": {"type", "data"},
        },
    },
    "atoms": {
        "call": {
            "user_interim_transcription": {"interim_transcription_text"},
            "user_transcription": {"user_transcription_text"},
            "tts_completed": {"tts_text", "tts_latency"},
            "call_start": NONE,
            "call_end": NONE,
            "turn_latency": NONE,
            "metrics": NONE,
        }
    },
    "aitronos": {
        "session": {
            "status": {"session_id", "status", "previous_status", "timestamp", "error_message", "error_code"}
            | {"participant_name", "event"}
        }
    },
}


def documented() -> Iterator[Any]:
    for contract, kinds in DOCUMENTED.items():
        for kind, types in kinds.items():
            for type, fields in types.items():
                yield pytest.param(contract, kind, type, fields, id=f"{contract} {type}")


def declared(contract: str, kind: str, type: str) -> EventType:
    (found,) = (
        event
        for one in RULES.contracts
        for event in one.events
        if (one.name, event.kind, event.type) == (contract, kind, type)
    )
    return found


def test_there_is_a_file_for_each_document_and_the_canonical_stream() -> None:
    assert {*DOCUMENTED, "canonical"} == FILES


@pytest.mark.parametrize(("contract", "kind", "type", "fields"), [*documented()])
def test_every_documented_field_stands_in_the_schema_and_in_an_example(
    contract: str, kind: str, type: str, fields: set[str]
) -> None:
    event = declared(contract, kind, type)
    examples = [event.example, *event.schema.get("examples", ())]
    assert fields <= set(event.schema.get("properties", {}))
    assert fields <= {name for example in examples for name in example}
    assert event.about
    for example in examples:
        Draft202012Validator(dict(event.schema)).validate(dict(example))


@pytest.mark.parametrize(
    ("kind", "type", "data"),
    [
        ("bot", "transcript_segment", {"speaker": "A", "text": "b", "timestamp": "c"}),
        ("bot", "transcript_segment", {"speaker": "A", "text": "b", "timestamp": "c", "is_final": "yes"}),
        ("bot", "participant_update", {"participants": "Alice"}),
        ("bot", "participant_update", {"participants": [{"name": "Alice"}]}),
        ("conversation", "message.sent", {"message_id": "1", "direction": "sideways", "text": "", "status": "sent"}),
        ("conversation", "conversation.mode_changed", {"from_mode": "agent", "to_mode": "human"}),
        ("call", "tts_completed", {"tts_text": "x", "tts_latency": 1.5}),
        ("call", "tts_completed", {"tts_text": "x", "tts_latency": "240"}),
        ("call", "user_transcription", {}),
        ("session", "status", {"session_id": "other_1", "timestamp": "t", "participant_name": "A", "event": "joined"}),
        ("session", "status", {"session_id": "mbsess_1", "timestamp": "t", "participant_name": "A", "event": "sat"}),
        ("session", "status", {"session_id": "mbsess_1", "timestamp": "t", "status": "active"}),
    ],
)
def test_the_schemas_see_what_is_not_as_documented(kind: str, type: str, data: dict[str, Any]) -> None:
    assert not Draft202012Validator(dict(RULES.types[kind, type].schema)).is_valid(data)


def test_no_contracts_name_appears_in_the_code() -> None:
    names = re.compile(rf"(?<![A-Za-z0-9])({'|'.join(sorted(FILES - {'canonical'}))})(?![A-Za-z0-9])", re.IGNORECASE)
    code = [path for folder in ("app", "workers", "migrations") for path in (ROOT / folder).rglob("*")]
    code = [path for path in code if path.suffix in (".py", ".js", ".html", ".css")]
    assert len(code) > 50
    gunicorns = re.compile(r"(def |super\(\)\.|self\.)atoms\(")  # its word for the parts of a line of the access log
    assert [str(path) for path in code if names.search(gunicorns.sub("", path.read_text()))] == []


def test_every_clause_of_the_documents_is_shown_by_a_test() -> None:
    named = re.compile(rf'"((?:{"|".join(DOCUMENTED)})-\d+)"')
    tests = [file.read_text() for folder in SUITES for file in Path(ROOT / folder).glob("test_*.py")]
    shown = {id for text in tests for id in named.findall(text)}
    assert set(CLAUSES) - shown == set()
    assert {clause.kind for clause in CLAUSES.values()} == set(KINDS)
