"""Readers of one workspace leave connections for the others."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from sqlalchemy.exc import TimeoutError

from app.live.feed.turns import MOST_AT_ONCE, Turns


def test_a_workspace_has_so_many_turns_at_once_and_others_have_theirs() -> None:
    turns = Turns(wait_seconds=0)
    with ExitStack() as taken:
        for _ in range(MOST_AT_ONCE):
            taken.enter_context(turns.of("many"))
        with pytest.raises(TimeoutError), turns.of("many"):
            pass
        with turns.of("other"):
            pass
    with turns.of("many"):
        pass


def test_whoever_waits_has_the_turn_that_is_given_back() -> None:
    turns, had = Turns(wait_seconds=10), threading.Event()

    def wait() -> None:
        with turns.of("one"):
            had.set()

    with ExitStack() as taken:
        for _ in range(MOST_AT_ONCE):
            taken.enter_context(turns.of("one"))
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert not had.is_set()
    waiting.join(10)
    assert had.is_set()
