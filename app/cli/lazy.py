"""The root of the commands: it knows their names and what they are for, and imports a command's file when it is called.

`twofold --help` and a shell that completes a name come by here all the time, and gunicorn, Celery and SQLAlchemy take a
second to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click


class LazyGroup(click.Group):
    """Commands in titled sections.

    sections: title -> command -> what it is for. modules: the file in app/cli of commands that share one; others have
    a file of their name, with a hyphen as an underscore. aliases: former names -> commands; help does not show them.
    A file has `commands`, a tuple of all that it offers.
    """

    def __init__(
        self,
        *,
        sections: Mapping[str, Mapping[str, str]],
        modules: Mapping[str, str],
        aliases: Mapping[str, str],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.sections, self.modules, self.aliases = sections, modules, aliases

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of help."""
        return [name for section in self.sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's file. None when there is no such command."""
        name = self.aliases.get(cmd_name, cmd_name)
        if name not in self.list_commands(ctx):
            return None
        module = import_module(f"app.cli.{self.modules.get(name, name)}")
        found: dict[str | None, click.Command] = {command.name: command for command in module.commands}
        return found[name]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, and with the nearest names where there is none. Raises click.UsageError."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            near = get_close_matches(name, self.list_commands(ctx))
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"No such command {name!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The sections with their commands; nothing is imported for it."""
        for title, section in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(list(section.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[click.shell_completion.CompletionItem]:
        """Names that begin so, with what they are for; nothing is imported for it."""
        from click.shell_completion import CompletionItem

        if incomplete.startswith("-"):
            return click.Command.shell_complete(self, ctx, incomplete)
        named = [(name, help) for section in self.sections.values() for name, help in section.items()]
        return [CompletionItem(name, help=help) for name, help in named if name.startswith(incomplete)]
