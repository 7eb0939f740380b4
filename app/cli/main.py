"""`twofold …`: each command is a doorway to one function."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import cast

from sqlalchemy.exc import SQLAlchemyError

from app.accounts.keys import SCOPES
from app.cli.admin import run_create_key, run_create_workspace, run_partitions
from app.cli.database import CommandError
from app.core.problem import Problem, first_line


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    root = argparse.ArgumentParser(
        prog="twofold",
        description="One event, two deliveries. Commands that use the database read DATABASE_URL.",
    )
    commands = root.add_subparsers(title="commands", metavar="", required=True)

    command = commands.add_parser("dev", help="run the whole product on this machine (what `make run` does)")
    command.add_argument("--stop-with-parent", action="store_true", help="stop when the starting process ends (Linux)")
    command.set_defaults(run=_dev)

    command = commands.add_parser("listen", help="a small webhook receiver: prints and verifies what arrives")
    command.add_argument("--port", type=int, default=9000, help="port on 127.0.0.1 (default: 9000)")
    command.add_argument(
        "--secret",
        action="append",
        default=[],
        help="whsec_… or whpk_… to verify with; repeatable (default: asks the local run in var/ for the secrets of"
        " the endpoints that point here)",
    )
    command.set_defaults(run=_listen)

    keys = commands.add_parser("key", help="API keys").add_subparsers(title="commands", metavar="", required=True)
    command = keys.add_parser("create", help="make an API key and print it, once")
    command.add_argument("--name", required=True, help="what the key is for")
    command.add_argument("--workspace", help="id or uid; without it a platform key, which may act for any workspace")
    command.add_argument(
        "--scopes", default=",".join(SCOPES), help=f"comma-separated, of {', '.join(SCOPES)} (default: all)"
    )
    command.set_defaults(run=run_create_key)

    workspaces = commands.add_parser("workspace", help="workspaces").add_subparsers(
        title="commands", metavar="", required=True
    )
    command = workspaces.add_parser("create", help="make a workspace and print it")
    command.add_argument("--uid", help="your own name for it (default: its id)")
    command.add_argument("--name", required=True, help="the name to show")
    command.set_defaults(run=run_create_workspace)

    command = commands.add_parser("partitions", help="make the partitions of the coming weeks; prints the new ones")
    command.set_defaults(run=run_partitions)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, with a line on standard error when it is 1."""
    arguments = parser().parse_args(argv)
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


def _dev(arguments: argparse.Namespace) -> int:
    options = ["--stop-with-parent"] if arguments.stop_with_parent else []
    return _doorway("app.local.run")(options)


def _listen(arguments: argparse.Namespace) -> int:
    return _doorway("app.cli.listen")(arguments.port, arguments.secret)


def _doorway(module: str) -> Callable[..., int]:
    # Imported when asked for: they need packages that a production installation may do without.
    try:
        return cast(Callable[..., int], import_module(module).main)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "app":
            raise
        raise CommandError(f"needs the package {error.name}: pip install 'twofold[embedded]'") from None


if __name__ == "__main__":
    sys.exit(main())
