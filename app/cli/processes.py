"""`twofold migrate`, `web`, `worker` and `beat`: the Procfile's lines, from any folder.

The command is replaced by the line's program: its process id, its signals and its exit status are the program's.
"""

from __future__ import annotations

import argparse
import os

from app.cli.command import Commands
from app.local import procfile
from app.project import project_root

# command -> (the Procfile's name for it, what it does)
PROCESSES = {
    "migrate": ("release", "bring the database's tables up to this version"),
    "web": ("web", "serve the API and live streams (gunicorn)"),
    "worker": ("worker", "deliver webhooks (Celery worker)"),
    "beat": ("beat", "start the hourly housekeeping (Celery beat); run one"),
}


def add(commands: Commands) -> None:
    """Add these commands. Options that they do not know are the program's."""
    for name, (process, help) in PROCESSES.items():
        command = commands.add_parser(
            name,
            help=help,
            allow_abbrev=False,
            description=f"{help[0].upper()}{help[1:]}: the Procfile's `{process}` line."
            " What follows is added to that line; relative paths there count from the project's folder.",
        )
        command.set_defaults(run=run_process, process=process, passes_on=True)


def run_process(arguments: argparse.Namespace) -> int:
    """Become the program; returns only by raising OSError."""
    line = procfile.lines()[arguments.process]
    environ = procfile.environment(os.environ)
    os.chdir(project_root())
    program, *words = procfile.command(line, *arguments.further)
    os.execve(program, [program, *words], environ)
