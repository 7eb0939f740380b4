"""How a greenlet waits for PostgreSQL: straight at gevent's loop, of which its `select.poll` takes two turns."""

from __future__ import annotations

from gevent import monkey
from gevent.socket import wait_read, wait_readwrite, wait_write
from psycopg.waiting import Ready, Wait

from app.database import patience

_WAITS = {Wait.R: wait_read, Wait.W: wait_write, Wait.RW: wait_readwrite}


def waiting() -> patience.WaitReady:
    """How this process waits: as greenlets do where threads are greenlets, else as threads do."""
    return ready if monkey.is_module_patched("threading") else patience.by_poll


def ready(fileno: int, wanted: Wait, seconds: float) -> Ready | None:
    """As patience.WaitReady says. Which of reading and writing is possible is not told here: both are tried."""
    try:
        _WAITS[wanted](fileno, timeout=seconds)
    except TimeoutError:
        return None
    return Ready(wanted)
