"""`twofold streams`: live subjects, and tokens for them."""

from __future__ import annotations

import click

from app.cli.api import Api, asks, stream_path
from app.cli.options import limit_option
from app.cli.shown import columns, json_option, print_object, print_rows

COLUMNS = columns(id="id", kind="kind", status="status", last_seq="last_seq", age="created_at", ended="ended_at")


@click.group()
def streams() -> None:
    """Live streams, each called by its kind and its id, such as call/call_42."""


@streams.command("list")
@asks
@click.option("--kind", metavar="KIND", help="Only streams of this kind.")
@click.option("--status", type=click.Choice(["open", "ended"]), help="Only streams in this state.")
@limit_option
@json_option
def list_streams(api: Api, kind: str | None, status: str | None, limit: int, as_json: bool) -> None:
    """List streams, newest first."""
    found = api.rows("/v1/streams", {"kind": kind, "status": status}, limit)
    print_rows(found, COLUMNS, as_json=as_json, empty="No streams.")


@streams.command()
@asks
@click.argument("stream", metavar="KIND/ID")
@json_option
def show(api: Api, stream: str, as_json: bool) -> None:
    """Show a stream: open or ended, its last seq, its attributes."""
    print_object(api.get(stream_path(stream)), as_json=as_json)


@streams.command()
@asks
@click.argument("stream", metavar="KIND/ID")
@json_option
def end(api: Api, stream: str, as_json: bool) -> None:
    """End a stream; it takes no more events."""
    print_object(api.post(f"{stream_path(stream)}/end"), as_json=as_json)


@streams.command()
@asks
@click.argument("stream", metavar="KIND/ID")
@json_option
def token(api: Api, stream: str, as_json: bool) -> None:
    """Make a short-lived token that opens this stream alone, for a browser."""
    print_object(api.post(f"{stream_path(stream)}/tokens"), as_json=as_json)


commands = (streams,)
