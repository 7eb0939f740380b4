"""One process of a worker has the place at the doorbell, and its end frees it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from workers import place


def test_the_place_at_the_bell_ends_with_the_process_that_holds_it() -> None:
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"y" if place.take() else b"n")
        signal.pause()
    try:
        assert os.read(read, 1) == b"y"
        assert not place.is_free()
        assert not place.take()
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)
    assert place.is_free()


def test_what_a_child_has_found_is_known_to_its_parent_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not place.is_quiet()
    child = os.fork()
    if child == 0:
        place.found_nothing()
        os._exit(0)
    os.waitpid(child, 0)
    assert place.is_quiet()
    now = time.monotonic()
    for moment, quiet in ((now + place.FRESH_SECONDS, False), (now - 60, False)):
        monkeypatch.setattr(time, "monotonic", lambda moment=moment: moment)
        assert place.is_quiet() is quiet
