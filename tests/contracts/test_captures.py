"""Whole exchanges, byte for byte, against captures that were written by hand from the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contracts.capture import Player
from tests.contracts.conformance import clause
from tests.contracts.conftest import Clocked

FIXTURES = Path(__file__).parent / "fixtures"


def play(clocked: Clocked, name: str) -> None:
    Player(clocked.producer, clocked.clock).play(FIXTURES / f"{name}.txt")


@clause(
    "serveka-1", "serveka-2", "serveka-4", "serveka-5", "serveka-7", "serveka-9", "serveka-10", "serveka-12",
    "serveka-13", "serveka-16", "serveka-17",
)  # fmt: skip
def test_serveka_from_subscribing_to_the_end(clocked: Clocked) -> None:
    play(clocked, "serveka")


@clause("voicebip-1", "voicebip-3", "voicebip-6", "voicebip-7", "voicebip-8", "voicebip-14", "voicebip-26")
def test_voicebip_transcript_from_connecting_to_the_end(clocked: Clocked) -> None:
    play(clocked, "voicebip-transcript")


@clause("voicebip-1", "voicebip-7", "voicebip-11", "voicebip-12", "voicebip-13", "voicebip-14", "voicebip-26")
def test_voicebip_conversation(clocked: Clocked) -> None:
    play(clocked, "voicebip-conversation")


@clause("voicebip-1", "voicebip-16", "voicebip-17", "voicebip-18", "voicebip-21", "voicebip-27", "voicebip-32")
def test_voicebip_call_events_from_the_handshake_to_the_close(clocked: Clocked) -> None:
    play(clocked, "voicebip-events")


@clause(
    "atoms-1", "atoms-3", "atoms-5", "atoms-6", "atoms-7", "atoms-8", "atoms-9", "atoms-11", "atoms-14", "atoms-15",
    "atoms-18", "atoms-24", "atoms-25",
)  # fmt: skip
def test_atoms_from_sse_init_to_sse_close(clocked: Clocked) -> None:
    play(clocked, "atoms")


@clause(
    "aitronos-1", "aitronos-3", "aitronos-4", "aitronos-5", "aitronos-6", "aitronos-8", "aitronos-9", "aitronos-10",
    "aitronos-11", "aitronos-12", "aitronos-13",
)  # fmt: skip
def test_aitronos_the_documents_own_sample(clocked: Clocked) -> None:
    play(clocked, "aitronos")


@pytest.mark.parametrize("name", ["aitronos-404", "aitronos-422"])
@clause("aitronos-16", "aitronos-17")
def test_aitronos_errors_in_the_documents_envelope(clocked: Clocked, name: str) -> None:
    play(clocked, name)
