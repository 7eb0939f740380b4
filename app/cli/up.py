"""`twofold up`: the whole product on this machine, as `make run` starts it."""

from __future__ import annotations

import os

import click

from app.cli.command import CommandError


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="Port on 127.0.0.1 (default: PORT, else 8000).")
@click.option("--stop-with-parent", is_flag=True, help="Stop when the starting process ends (Linux).")
def up(port: int | None, stop_with_parent: bool) -> int:
    """Run the whole product until Ctrl-C: migrate, then web, worker and beat, each started again when it dies.

    Its files are in var/ (TWOFOLD_VAR). DATABASE_URL and REDIS_URL, when set, are used instead of engines of its own.
    """
    try:  # when asked for: a production installation does without what embedded engines need
        from app.local.run import main
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "app":
            raise
        raise CommandError(f"needs the package {error.name}: pip install 'twofold-server[embedded]'") from None
    if port:
        os.environ["PORT"] = str(port)
    return main(["--stop-with-parent"] if stop_with_parent else [])


commands = (up,)
