"""`twofold partitions`: the weekly partitions of the tables that grow."""

from __future__ import annotations

import click


@click.command()
def partitions() -> None:
    """Make the partitions of the coming weeks in DATABASE_URL; prints the names of the new ones."""
    from app.cli.database import open_database
    from app.database.partitions import make_partitions

    with open_database() as database, database.begin() as connection:
        for name in make_partitions(connection):
            click.echo(name)


commands = (partitions,)
