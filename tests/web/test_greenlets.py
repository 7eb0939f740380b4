"""A greenlet waits for PostgreSQL no longer than it is told to."""

from __future__ import annotations

import socket

from psycopg.waiting import Ready, Wait

from app.web import greenlets


def test_it_waits_for_what_is_wanted_and_no_longer() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert greenlets.ready(ours.fileno(), Wait.R, 0.01) is None
        theirs.send(b"x")
        assert greenlets.ready(ours.fileno(), Wait.R, 1.0) == Ready.R
        assert greenlets.ready(ours.fileno(), Wait.W, 1.0) == Ready.W
        assert greenlets.ready(ours.fileno(), Wait.RW, 1.0) == Ready.RW
        theirs.close()
        assert greenlets.ready(ours.fileno(), Wait.R, 1.0) == Ready.R  # whoever reads finds the end
