"""What commands print: tables that fit, nothing that commands the terminal, JSON that stays what it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from app.cli.shown import age, cell, columns, fitted, json_line, laid_out, print_object, print_rows, safe, spelled_safe

TABLE = columns(id="id", url="url", note="note")
ROWS = [["ep_1", "https://example.com/a/very/long/path", "first"], ["ep_22", "http://b/", "-"]]


def test_without_a_terminal_every_cell_is_whole() -> None:
    assert laid_out(TABLE, ROWS, None) == [
        ["id   ", "url                                 ", "note "],
        ["ep_1 ", "https://example.com/a/very/long/path", "first"],
        ["ep_22", "http://b/                           ", "-    "],
    ]


def test_a_table_fits_the_terminal_and_says_what_it_cut() -> None:
    lines = ["  ".join(line) for line in laid_out(TABLE, ROWS, 31)]
    assert lines[1] == "ep_1   https://example.…  first"
    assert {len(line) for line in lines} == {31}
    assert ["  ".join(line) for line in laid_out(TABLE, ROWS, 20)][1] == "ep_1   https://exam…"


@pytest.mark.parametrize(
    ("widths", "width", "found"),
    [
        ([5, 10], 22, [5, 10]),
        ([5, 30], 22, [5, 15]),
        ([30, 30], 42, [30, 10]),  # the first is an id
        ([5, 30, 20, 4], 45, [5, 15, 15, 4]),
        ([5, 30, 30], 20, [5, 13]),
        ([30, 30], 1, [30]),
        ([3, 4], 9, [3, 4]),
    ],
)
def test_the_widest_columns_give_first_and_the_last_are_left_out(
    widths: list[int], width: int, found: list[int]
) -> None:
    assert fitted(widths, [True, False, False, False], width) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2026-11-20T10:00:00.000Z", "0s"),
        ("2026-11-20T09:58:01Z", "119s"),
        ("2026-11-20T09:58:00Z", "2m"),
        ("2026-11-20T08:00:00Z", "2h"),
        ("2026-11-18T09:00:00Z", "2d"),
        ("2026-11-20T10:00:31Z", "in 31s"),
        ("2026-11-20T16:00:00Z", "in 6h"),
    ],
)
def test_times_in_tables_are_how_long_ago(text: str, shown: str) -> None:
    assert age(text, datetime(2026, 11, 20, 10, tzinfo=UTC)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("call.started", "call.started"),
        ("Zoë 日本", "Zoë 日本"),
        ("\x1b[2Jgone", "\\x1b[2Jgone"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_what_would_command_the_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_json_stays_what_it_was_and_cannot_command_the_terminal() -> None:
    value = {"text": "Zoë\x1b\x9b\u2028", "number": 10**30}
    line = json_line(value)
    assert json.loads(line) == value
    assert line == '{"text": "Zoë\\u001b\\u009b\\u2028", "number": 1000000000000000000000000000000}'
    assert spelled_safe('{"gain":1.0}') == '{"gain":1.0}'


def test_cells_show_every_kind_of_value() -> None:
    assert [cell(value) for value in (None, "a", ["a", "b"], [], 7, True, {"a": [1]})] == [
        "-",
        "a",
        "a, b",
        "",
        "7",
        "true",
        '{"a": [1]}',
    ]


def test_rows_are_a_table_or_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    shown = columns(stream_id="stream.id", reason="reason")
    rows = [{"stream": {"id": "call_1"}, "reason": None}, {"stream": None}]
    print_rows(rows, shown, as_json=False, empty="None.")
    assert capsys.readouterr().out == "stream id  reason\ncall_1     -\n-          -\n"
    print_rows(rows, shown, as_json=True, empty="None.")
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    print_rows([], shown, as_json=False, empty="None.")
    assert capsys.readouterr() == ("", "None.\n")
    print_object({"id": "ep_1", "url": "http://b/"}, as_json=False)
    assert capsys.readouterr().out == "id   ep_1\nurl  http://b/\n"
