"""`twofold …`: finds the command that is asked for, runs it, and explains a failure in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import click

from app.cli.command import CommandError, Status, status_of
from app.cli.lazy import LazyGroup
from app.core.problem import Problem, first_line

SECTIONS = {
    "Run it": {
        "up": "the whole product on this machine, with its own PostgreSQL and Redis unless others are given",
        "migrate": "bring the database's tables up to this version",
        "web": "serve the API, live streams and pages (gunicorn)",
        "worker": "deliver webhooks (Celery worker)",
        "beat": "start the hourly housekeeping (Celery beat); run one",
        "doctor": "say what is wrong with an installation, and how to mend it",
    },
    "Send and receive": {
        "publish": "send events: one, a file of them, or standard input",
        "tail": "follow a stream, all streams, or the delivery log, as it happens",
        "listen": "a small webhook receiver: prints and verifies what arrives, or forwards to yours",
        "zoo": "hostile webhook receivers on 127.0.0.1, to test a sender with",
    },
    "Look and repair": {
        "events": "read events back",
        "feed": "all events in one order: followed, or read page by page",
        "consumers": "readers of the feed whose places are kept: their lag, moving them",
        "streams": "list, show and end streams, make tokens for them",
        "endpoints": "register webhook URLs and look after them",
        "deliveries": "the delivery log, with each attempt",
        "lanes": "what waits for what at endpoints that keep order; skip, retry",
        "explain": "why an event has, or has not, reached each endpoint",
        "retry": "attempt deliveries again, now",
        "recover": "deliver again what an endpoint has missed",
    },
    "Administer": {
        "workspaces": "customers",
        "keys": "API keys",
        "users": "people who sign in to the console",
        "partitions": "make the partitions of the coming weeks; prints the new ones",
        "profile": "the servers that you work with, and their keys",
        "completion": "print what makes your shell complete these commands",
    },
}
MODULES = dict.fromkeys(("migrate", "web", "worker", "beat"), "processes") | {
    "explain": "events",
    "retry": "deliveries",
    "recover": "endpoints",
}
ALIASES = {"dev": "up", "key": "keys", "user": "users", "workspace": "workspaces"}


class _Root(LazyGroup):
    """Tells of a reader who has gone (`| head`) before click does, which would end with status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command and write out what it has printed."""
        try:
            done = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            with suppress(OSError, ValueError):  # what is left in the buffer goes nowhere when the process ends
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(Status.CLOSED_PIPE) from None
        return done


def _show_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # a part of the time that a start takes

        click.echo(f"twofold {version('twofold-server')}")
        ctx.exit()


root = _Root(
    name="twofold",
    sections=SECTIONS,
    modules=MODULES,
    aliases=ALIASES,
    help="One event, two deliveries: live to whoever is watching, and reliably to everyone who registered.",
    epilog="Which server: --profile, TWOFOLD_URL with TWOFOLD_API_KEY, the profile in use, or the local run in var/."
    " Commands that work on the database itself read DATABASE_URL.",
    context_settings={"help_option_names": ["-h", "--help"]},
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Print the version.",
        )
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status, with a line on standard error when it failed."""
    try:
        status = root.main(None if argv is None else list(argv), prog_name="twofold", standalone_mode=False)
        return status if isinstance(status, int) else Status.OK
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return Status.INTERRUPTED
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        print(f"twofold: {told[0]}", file=sys.stderr)
        return told[1]


def _told(error: Exception) -> tuple[str, Status] | None:
    """A failure as a line and a status; None for one that nobody expected."""
    if isinstance(error, CommandError):
        return str(error), error.status
    if isinstance(error, Problem):
        told = "; ".join([error.detail, *(f"{one['field']}: {one['detail']}" for one in error.errors)])
        return told, status_of(error.status)
    databases = sys.modules.get("sqlalchemy.exc")  # its errors exist once a command has imported it
    if databases and isinstance(error, databases.SQLAlchemyError):
        away = isinstance(error, databases.OperationalError)
        return first_line(error), Status.UNREACHABLE if away else Status.FAILED
    return (first_line(error), Status.FAILED) if isinstance(error, OSError) else None


if __name__ == "__main__":
    sys.exit(main())
