"""Options and arguments that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

FIRST_PAGE = 50


def limit_option(command: F) -> F:
    """Adds --limit: how many rows at most, 0 for all."""
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        default=FIRST_PAGE,
        show_default=True,
        help="So many rows at most; 0: all.",
    )(command)


def feed_filters(command: F) -> F:
    """Adds what the feed is narrowed by: streams as arguments, --kind, --type and --filter."""
    for option in (
        click.option("--filter", metavar="JSON", help='Only such data, as {"path": "/amount", "gte": 100}.'),
        click.option("--type", metavar="TYPE", help="Only these types, such as call.*, separated by commas."),
        click.option("--kind", metavar="KIND", help="Only streams of these kinds, separated by commas."),
        click.argument("streams", metavar="[KIND/ID]...", nargs=-1),
    ):
        command = option(command)
    return command


def yes_option(command: F) -> F:
    """Adds --yes: do not ask before what cannot be undone."""
    return click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")(command)


def sure(yes: bool, question: str) -> None:
    """Ask, unless the answer was given. Raises click.Abort when it is no."""
    if not yes:
        click.confirm(question, abort=True, err=True)
