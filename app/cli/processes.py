"""`twofold migrate`, `web`, `worker` and `beat`: the Procfile's lines, from any folder.

The command is replaced by the line's program: its process id, its signals and its exit status are the program's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

# command -> (the Procfile's name for it, what it does)
PROCESSES = {
    "migrate": ("release", "Bring the database's tables up to this version"),
    "web": ("web", "Serve the API, live streams and pages (gunicorn)"),
    "worker": ("worker", "Deliver webhooks (Celery worker)"),
    "beat": ("beat", "Start the hourly housekeeping (Celery beat); run one"),
}


def run_process(process: str, further: Sequence[str]) -> None:
    """Become the program of one of the Procfile's lines; returns only by raising OSError."""
    from app.local import procfile
    from app.project import project_root

    line = procfile.lines()[process]
    environ = procfile.environment(os.environ)
    os.chdir(project_root())
    program, *words = procfile.command(line, *further)
    os.execve(program, [program, *words], environ)


def _command(name: str, process: str, help: str) -> click.Command:
    def become(further: Sequence[str]) -> None:
        run_process(process, further)

    return click.Command(
        name,
        callback=become,
        params=[click.Argument(["further"], nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF THE PROGRAM]...")],
        help=f"{help}: the Procfile's `{process}` line. What follows is added to that line; relative paths there count"
        " from the project's folder.",
        context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
        options_metavar="",
    )


commands = tuple(_command(name, *about) for name, about in PROCESSES.items())
