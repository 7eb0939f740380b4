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


def yes_option(command: F) -> F:
    """Adds --yes: do not ask before what cannot be undone."""
    return click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")(command)


def sure(yes: bool, question: str) -> None:
    """Ask, unless the answer was given. Raises click.Abort when it is no."""
    if not yes:
        click.confirm(question, abort=True, err=True)
