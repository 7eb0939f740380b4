"""`twofold feed`: everything of a workspace in one order, as it happens or page by page."""

from __future__ import annotations

import json
from typing import Any

import click

from app.cli.api import Api, asks
from app.cli.command import CommandError
from app.cli.forwarding import Page, page_of
from app.cli.options import feed_filters, limit_option
from app.cli.shown import cell, json_option, spelled_safe
from app.cli.tail import asked_of_feed, feed_page, follow_feed, of_feed

PAGE = 250  # the most that one page holds


@click.group()
def feed() -> None:
    """All of a workspace's events in one order, from one cursor."""


@feed.command()
@asks
@feed_filters
@click.option("--after", metavar="PLACE", help="Begin there: a cursor, a time, 2h, earliest or latest (the default).")
@json_option
def tail(
    api: Api,
    streams: tuple[str, ...],
    kind: str | None,
    type: str | None,
    filter: str | None,
    after: str | None,
    as_json: bool,
) -> None:
    """Follow the feed until Ctrl-C, as twofold tail --feed does. After a cut it goes on where it was."""
    follow_feed(api, asked_of_feed(streams, kind, type, filter, after), as_json=as_json)


@feed.command()
@asks
@feed_filters
@click.option("--after", metavar="PLACE", help="Begin there: a cursor, a time, 2h, earliest (the default) or latest.")
@click.option(
    "--wait", type=click.IntRange(0, 30), metavar="SECONDS", help="Wait so long for an event if there is none."
)
@limit_option
@json_option
def page(
    api: Api,
    streams: tuple[str, ...],
    kind: str | None,
    type: str | None,
    filter: str | None,
    after: str | None,
    wait: int | None,
    limit: int,
    as_json: bool,
) -> None:
    """Print what lies behind a place, oldest first, and on standard error where to go on.

    With --json each line is {"cursor": …, "event": …}, the event as it was spelled.
    """
    from app.client.parse import StreamEvent  # with requests, which takes long

    wanted = asked_of_feed(streams, kind, type, filter, after or "earliest") | {"wait": wait}
    left = limit or None
    while True:
        found, more = _read(api, wanted | {"limit": min(left or PAGE, PAGE)})
        for entry in found.entries:
            body = entry.body.decode(errors="replace")
            line = f'{{"cursor":"{entry.cursor}","event":{body}}}'
            click.echo(spelled_safe(line) if as_json else of_feed(StreamEvent("", body, entry.cursor)))
        left = None if left is None else left - len(found.entries)
        wanted |= {"after": found.cursor, "wait": None}
        if not more or left == 0:
            break
    note = "There may be more. " if more else ""
    click.echo(f"{note}Go on with: --after {cell(found.cursor)}", err=True)


def _read(api: Api, wanted: dict[str, Any]) -> tuple[Page, bool]:
    """A page, and whether there may be more. Raises CommandError, naming the place to go on from if there is one."""
    text = feed_page(api, wanted)
    try:
        return page_of(text), bool(json.loads(text)["more"])
    except (ValueError, KeyError, TypeError, IndexError):
        raise CommandError(f"{api.server.url} does not answer as Twofold does") from None


commands = (feed,)
