"""What commands print: tables that fit the terminal, pairs, and JSON.

Without a terminal a table is plain: every cell whole, no colours, so that other programs can read it. What comes from
the server is printed without its control characters: they would be commands to the terminal.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

GAP = "  "
NARROWEST = 10  # a cell that is cut still shows so many characters
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_NOT_IN_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
COLOURS = {
    **dict.fromkeys(("delivered", "enabled", "open", "success", "ok"), "green"),
    **dict.fromkeys(("failed", "disabled", "fail"), "red"),
    **dict.fromkeys(("pending", "warn"), "yellow"),
    **dict.fromkeys(("cancelled", "ended", "skip"), "bright_black"),
}


@dataclass(frozen=True)
class Column:
    """One column of a table. path: the member of a row that it shows, such as `stream.id`."""

    title: str
    path: str

    @property
    def is_id(self) -> bool:
        """Whether it is what rows are called by in other commands: it is never cut."""
        return self.path == "id"

    @property
    def is_age(self) -> bool:
        """Whether it is a time, shown as how long ago that was."""
        return self.path.endswith(("_at", "_since", ".since")) or self.path == "timestamp"


def columns(**paths: str) -> tuple[Column, ...]:
    """The columns of a table, the most important first: title (an underscore is shown as a blank) -> what it shows."""
    return tuple(Column(title.replace("_", " "), path) for title, path in paths.items())


def json_option(command: F) -> F:
    """Adds --json, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, one object on each line.")(command)


def print_rows(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], *, as_json: bool, empty: str) -> None:
    """A table, or each row as a line of JSON as soon as it is there. empty: what to say, on stderr, of no rows."""
    if as_json:
        for row in rows:
            click.echo(json_line(row))
        return
    now = datetime.now(UTC)
    cells = [[_cell(row, column, now) for column in columns] for row in rows]
    if not cells:
        click.echo(empty, err=True)
        return
    titles, *lines = laid_out(columns, cells, terminal_width())
    click.echo(GAP.join(click.style(title, bold=True) if colours() else title for title in titles).rstrip())
    for line in lines:
        click.echo(GAP.join(styled(text, text.strip()) for text in line).rstrip())


def print_object(value: Mapping[str, Any], *, as_json: bool) -> None:
    """The members of an object, one on each line; or JSON on one line."""
    if as_json:
        click.echo(json_line(value))
        return
    longest = max(map(len, value))
    for name, member in value.items():
        click.echo(f"{name:<{longest}}{GAP}{cell(member)}".rstrip())


def laid_out(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None) -> list[list[str]]:
    """The cells of titles and rows, padded into columns.

    width: of the terminal. To fit it the longest cells are cut, ids excepted, and the last columns are left out.
    """
    table = [[column.title for column in columns], *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    if width is not None:
        widths = fitted(widths, [column.is_id for column in columns], width)
    return [[f"{_cut(text, size):<{size}}" for text, size in zip(row, widths, strict=False)] for row in table]


def fitted(widths: Sequence[int], whole: Sequence[bool], width: int) -> list[int]:
    """Widths with which a table fits a terminal: the widest give first, those that are to stay `whole` never, none
    becomes narrower than NARROWEST or than it was. Fewer than there were when there is no room for all."""
    for count in range(len(widths), 1, -1):
        room = width - len(GAP) * (count - 1)
        for most in range(max(NARROWEST, *widths), NARROWEST - 1, -1):
            found = [size if keep else min(size, most) for size, keep in zip(widths[:count], whole, strict=False)]
            if sum(found) <= room:
                return found
    return list(widths[:1])


def age(text: str, now: datetime) -> str:
    """How long ago an RFC 3339 time was, or `in` how long it is to be, in its largest unit."""
    seconds = (now - datetime.fromisoformat(text)).total_seconds()
    before = "in " if seconds < 0 else ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if abs(seconds) >= 2 * size:  # below two of them the next one says more
            return f"{before}{abs(seconds) // size:.0f}{unit}"
    return f"{before}{abs(seconds):.0f}s"


def cell(value: Any) -> str:
    """A value as it stands in a table or behind a name."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return safe(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return safe(", ".join(value))
    return safe(json.dumps(value, ensure_ascii=False))


def safe(text: str) -> str:
    """Text with what would command the terminal spelled out."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def json_line(value: Any) -> str:
    """JSON on one line; characters that a terminal would act on are escaped."""
    return spelled_safe(json.dumps(value, ensure_ascii=False))


def spelled_safe(text: str) -> str:
    """JSON text with characters that a terminal would act on escaped, and everything else as it was spelled."""
    return _NOT_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def clock(text: str) -> str:
    """An RFC 3339 time as this machine's clock shows it, to the millisecond."""
    try:
        return datetime.fromisoformat(text).astimezone().strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return safe(text)


def terminal_width() -> int | None:
    """Columns of the terminal (COLUMNS, when it is set); None without one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def colours() -> bool:
    """Whether to use colours: on a terminal, unless NO_COLOR is set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def styled(text: str, word: str) -> str:
    """Text in the colour of a state's name, where colours are used."""
    return click.style(text, fg=COLOURS.get(word)) if colours() and word in COLOURS else text


def _cell(row: Mapping[str, Any], column: Column, now: datetime) -> str:
    value = _read(row, column.path)
    return age(value, now) if column.is_age and value else cell(value)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 1] + "…"


def _read(row: Mapping[str, Any], path: str) -> Any:
    value: Any = row
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
