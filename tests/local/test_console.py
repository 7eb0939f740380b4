"""The local run's output: every line for a reader who is there, and no waiting for one who is not."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from app.local.console import LINES_WAITING, Console
from tests.processes import eventually


def test_lines_stand_behind_the_names_of_their_processes(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    console = Console(["a", "long"], descriptor)
    console.line("a", b"one")
    console.plain("as it is")
    console.line("long", b"two")
    console.close()
    os.close(descriptor)
    assert (tmp_path / "out").read_text() == "a    | one\nas it is\nlong | two\n"


def test_nobody_waits_for_a_pipe_that_is_not_read_and_later_lines_are_printed_again() -> None:
    read, write = os.pipe()
    console = Console(["a"], write)

    def print_much() -> None:
        for _ in range(3 * LINES_WAITING):
            console.line("a", b"x" * 100)

    printing = threading.Thread(target=print_much)
    printing.start()
    printing.join(10)
    assert not printing.is_alive(), "printing waits for a reader"

    shown = bytearray()
    reader = threading.Thread(target=lambda: [shown.extend(data) for data in iter(lambda: os.read(read, 65536), b"")])
    reader.start()
    eventually(lambda: console.line("a", b"again") or b"again" in shown)
    console.close()
    os.close(write)
    reader.join()
    os.close(read)
    assert shown.count(b"x" * 100) < 3 * LINES_WAITING, "what nobody read was kept"
    assert bytes(shown).endswith(b"a | again\n")


def test_a_reader_who_is_gone_does_not_end_the_run() -> None:
    read, write = os.pipe()
    os.close(read)
    console = Console(["a"], write)
    console.line("a", b"nobody reads this")
    console.plain("nor this")
    console.close()
    os.close(write)
