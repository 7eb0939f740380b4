"""For how long a locked stream's events travel apart."""

from __future__ import annotations

from app.ledger.quarantine import SECONDS, Quarantine

ONE, TWO = ("ws", "call", "one"), ("ws", "call", "two")


def test_a_stream_that_was_locked_travels_apart_for_some_seconds() -> None:
    quarantine = Quarantine()
    assert not quarantine.touches([ONE], 0.0)
    quarantine.add([ONE], 100.0)
    assert quarantine.touches([TWO, ONE], 100.0)
    assert quarantine.touches([ONE], 99.9 + SECONDS)
    assert not quarantine.touches([ONE], 100.0 + SECONDS)
    assert not quarantine.touches([TWO], 100.0)


def test_one_that_is_found_locked_again_stays_longer() -> None:
    quarantine = Quarantine()
    quarantine.add([ONE], 100.0)
    quarantine.add([ONE, TWO], 104.0)
    assert quarantine.touches([ONE], 103.9 + SECONDS)
    assert not quarantine.touches([ONE, TWO], 104.0 + SECONDS)
