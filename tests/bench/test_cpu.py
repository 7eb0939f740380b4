"""CPU seconds of processes and of what descends from them."""

from __future__ import annotations

import os
import subprocess
import sys

from bench import cpu
from bench.contenders.product import lines_of

BUSY = "import time\nwhile time.process_time() < 0.2: pass\n"


def test_a_stat_line_is_read_whatever_the_process_is_called() -> None:
    line = "42 (a) b (c)) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 25 25 20 0 1 0 100 0 0"
    assert cpu.parsed_stat(line) == (7, 250 * cpu.TICK_SECONDS)


def test_a_tree_holds_what_descends_from_its_roots() -> None:
    assert cpu.tree_of([1, 9], {1: 0, 2: 1, 3: 2, 4: 0}) == {1, 2, 3}


def test_children_that_have_ended_are_counted() -> None:
    before = cpu.snapshot({"us": [os.getpid()]})["us"]
    subprocess.run([sys.executable, "-c", BUSY], check=True)
    assert cpu.snapshot({"us": [os.getpid()]})["us"] - before >= 0.2


def test_memory_is_read() -> None:
    assert cpu.resident_kib([os.getpid()]) > 1000
    assert cpu.kernel_kib() > 1000


def test_a_procfile_s_lines_are_found() -> None:
    assert lines_of("# not: this\nrelease: alembic upgrade head\nweb: gunicorn -c x:y\n") == {
        "release": "alembic upgrade head",
        "web": "gunicorn -c x:y",
    }
