"""`twofold …`: finds the command that is asked for, runs it, and explains a failure in one line."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import cast

from sqlalchemy.exc import SQLAlchemyError

from app.cli import dev, keys, listen, partitions, processes, users, workspaces, zoo
from app.cli.command import CommandError
from app.core.problem import Problem, first_line

# In the order in which --help shows them.
GROUPS = (dev, listen, zoo, processes, keys, users, workspaces, partitions)


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(
        prog="twofold",
        description="One event, two deliveries. Settings are read from the environment, such as DATABASE_URL.",
    )
    commands = root.add_subparsers(title="commands", metavar="", required=True)
    for group in GROUPS:
        group.add(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, with a line on standard error when it is 1."""
    root = parser()
    arguments, arguments_left = root.parse_known_args(argv)
    if arguments_left and "passes_on" not in arguments:
        root.error(f"unrecognized arguments: {' '.join(arguments_left)}")
    arguments.further = arguments_left
    try:
        return cast(Callable[[argparse.Namespace], int], arguments.run)(arguments)
    except Problem as problem:
        text = "; ".join([problem.detail, *(f"{error['field']}: {error['detail']}" for error in problem.errors)])
    except CommandError as error:
        text = str(error)
    except (SQLAlchemyError, OSError) as error:
        text = first_line(error)
    print(f"twofold: {text}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
