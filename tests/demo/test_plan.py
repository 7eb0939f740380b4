"""The recordings are what examples/README.md says, and the demo plays them as it was asked to."""

from __future__ import annotations

import argparse
import json
import unicodedata
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.client.books.records import compact
from app.contracts.load import Schemas, load
from app.demo.plan import EXAMPLES, PlanError, RecordedEvent, named, plays, recording, resized, stream_id
from app.demo.run import moments

CONTRACTS = ("canonical", "serveka", "voicebip", "atoms", "aitronos")
RECORDINGS = sorted(path.name for path in EXAMPLES.glob("*.ndjson"))
ENDINGS = {("call_end", None), ("call.ended", None)} | {
    (type, status) for type in ("bot_status", "status") for status in ("completed", "failed")
}


def ends(event: RecordedEvent) -> bool:
    status = json.loads(event.data).get("status") if event.type in ("bot_status", "status") else None
    return (event.type, status) in ENDINGS


def test_every_recording_is_played_by_a_contract_and_every_contract_plays_one() -> None:
    played = [play.recording for name in CONTRACTS for play in plays(name)]
    assert sorted(played) == RECORDINGS
    assert plays(None) == plays("canonical")


@pytest.mark.parametrize("name", RECORDINGS)
def test_only_the_last_event_ends_the_stream_and_a_conversation_has_no_end(name: str) -> None:
    *before, last = recording(name)
    assert not any(map(ends, before))
    assert ends(last) == (name != "conversation.ndjson")


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_recording_is_large_enough_and_strange_enough(name: str) -> None:
    events = recording(name)
    assert (300 if name == "support-call.ndjson" else 30) <= len(events) <= 400
    everything = "".join(event.data.decode() for event in events)
    assert "\\u2028" in everything, "an escaped line separator"
    assert any(ord(letter) > 0xFFFF for letter in everything), "emoji"
    assert any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in everything), "right-to-left"
    assert any(unicodedata.name(letter, "").startswith("CJK") for letter in everything), "Chinese or Japanese"
    assert '\\"' in everything, "quotes"


def test_the_support_call_has_every_spelling_that_must_survive() -> None:
    everything = "".join(event.data.decode() for event in recording("support-call.ndjson"))
    for text in ("\u2028", "\\u2028", "\u2029", "\u0085", "\u0301", "\u200d", "\\\\", "\\/", "\\ud83d\\ude04"):
        assert text in everything, ascii(text)
    for number in ("12345678901234567890", "1.0", "1e3", "-0.0", "1E+0", "0.00", "18446744073709551616"):
        assert f":{number}," in everything or f":{number}}}" in everything, number
    assert any(compact(event.data) != event.data for event in recording("support-call.ndjson")), "white space"


def test_the_support_call_has_every_part_of_a_call() -> None:
    types = {event.type for event in recording("support-call.ndjson")}
    assert types >= {
        "call_start",
        "user_interim_transcription",
        "user_transcription",
        "tts_completed",
        "turn_latency",
        "metrics",
        "call.transcript",
        "call.barge_in",
        "call.idle_silence",
        "call.quality_degraded",
        "call.participant_joined",
        "call.participant_left",
    }


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"a","at":0,"data":{}}',
        b'{"at":0,"type":"a","data":{}, "more":1}',
        b'{"at":0, "type":"a","data":{}}',
        b'{"at":0,"type":"a","data":[]}',
        b"{}",
    ],
)
def test_a_line_of_another_form_is_refused_by_its_number(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "x.ndjson").write_bytes(b'{"at":0,"type":"a","data":{}}\n' + line + b"\n")
    with pytest.raises(PlanError, match="line 2"):
        recording("x.ndjson", tmp_path)


def test_a_recording_that_goes_back_in_time_or_is_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.ndjson").write_bytes(b'{"at":2,"type":"a","data":{}}\n{"at":1,"type":"a","data":{}}\n')
    with pytest.raises(PlanError, match="line 2: goes back in time"):
        recording("x.ndjson", tmp_path)
    (tmp_path / "y.ndjson").write_bytes(b"\n")
    with pytest.raises(PlanError, match="is empty"):
        recording("y.ndjson", tmp_path)


def test_an_unknown_contract_is_answered_with_the_known_ones() -> None:
    with pytest.raises(PlanError, match="it has: canonical, serveka, voicebip, atoms, aitronos"):
        plays("mercury")


@pytest.mark.parametrize("count", [1, 2, 3, 10, 41, 42, 1000])
def test_a_resized_recording_has_exactly_so_many_events_and_keeps_its_end(count: int) -> None:
    whole = recording("buddy-session.ndjson")
    found = resized(whole, count)
    assert len(found) == count
    assert found[-1].data == whole[-1].data
    assert count == 1 or found[0] == whole[0]
    assert [event.at for event in found] == sorted(event.at for event in found)


def test_resized_to_its_own_length_it_is_the_same() -> None:
    whole = recording("buddy-session.ndjson")
    assert [(event.type, event.data) for event in resized(whole, len(whole))] == [
        (event.type, event.data) for event in whole
    ]


def test_the_id_inside_the_payloads_becomes_the_run_s_own() -> None:
    events = named(recording("buddy-session.ndjson"), "mbsess_abc123def456", "mbsess_new")
    assert {json.loads(event.data)["session_id"] for event in events} == {"mbsess_new"}
    assert stream_id("mbsess_{hex}", UUID(int=1)) == "mbsess_" + "0" * 31 + "1"
    assert stream_id("{uuid}", UUID(int=1)) == "00000000-0000-0000-0000-000000000001"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"rate": 10.0}, [0, 0.1, 0.2]),
        ({"speed": 2.0}, [0, 1, 5]),
        ({"duration": 20.0}, [0, 4, 20]),
    ],
)
def test_the_pace(options: dict[str, Any], expected: list[float]) -> None:
    given = argparse.Namespace(**{"rate": None, "speed": None, "duration": 20.0, **options})
    assert moments([5, 7, 15], given) == pytest.approx(expected)


def test_every_recorded_event_fits_its_contract_s_schema() -> None:
    warnings: list[tuple[str, str]] = []
    schemas = Schemas(load(None), lambda kind, type: warnings.append((kind, type)))
    for play in (play for name in CONTRACTS for play in plays(name)):
        for event in recording(play.recording):
            assert schemas.refuses(play.kind, event.type, json.loads(event.data)) is None
    assert warnings == []
