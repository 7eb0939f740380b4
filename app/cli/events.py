"""`twofold events`: what was accepted, read back."""

from __future__ import annotations

import click

from app.cli.api import Api, asks, part
from app.cli.options import limit_option
from app.cli.shown import cell, columns, json_option, print_rows, spelled_safe

COLUMNS = columns(id="id", type="type", seq="seq", age="timestamp", kind="stream.kind", stream="stream.id")


@click.group()
def events() -> None:
    """Accepted events."""


@events.command("list")
@asks
@click.option("--stream", metavar="KIND/ID", help="Only those of this stream, in its order.")
@click.option("--kind", metavar="KIND", help="Only those of streams of this kind.")
@click.option("--type", metavar="TYPE", help="Only those of this type, such as call.started or call.*.")
@click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Only those after this seq; needs --stream.")
@limit_option
@json_option
def list_events(
    api: Api, stream: str | None, kind: str | None, type: str | None, after: int | None, limit: int, as_json: bool
) -> None:
    """List events: of the workspace, newest first, or of one stream, in its order."""
    of_kind, _, id = stream.partition("/") if stream else (kind, "", None)
    if after is not None and not stream:
        raise click.UsageError("--after needs --stream")
    wanted = {"stream_kind": of_kind, "stream_id": id or None, "type": type, "after_seq": after}
    print_rows(api.rows("/v1/events", wanted, limit), COLUMNS, as_json=as_json, empty="No events.")


@events.command()
@asks
@click.argument("event_id")
def show(api: Api, event_id: str) -> None:
    """Print an event: the envelope, spelled as webhooks and streams carry it."""
    click.echo(spelled_safe(api.text(f"/v1/events/{part(event_id)}")))


@click.command()
@asks
@click.argument("event_id")
@click.option("--endpoint", metavar="ID", help="Only this endpoint.")
@limit_option
@json_option
def explain(api: Api, event_id: str, endpoint: str | None, limit: int, as_json: bool) -> None:
    """Say why an event has, or has not, reached each endpoint."""
    found = api.rows(f"/v1/events/{part(event_id)}/explain", {"endpoint_id": endpoint}, limit)
    if as_json:
        print_rows(found, (), as_json=True, empty="")
        return
    told = [
        f"{one['endpoint_id']}  {cell((one['endpoint'] or {}).get('url'))}\n  {cell(one['sentence'])}" for one in found
    ]
    click.echo("\n".join(told) if told else "No endpoints.", err=not told)


commands = (events, explain)
