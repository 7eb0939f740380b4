"""`twofold lanes`: what waits for what at endpoints that keep order, and having a stream go on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import click

from app.cli.api import Api, asks, part, stream_name
from app.cli.command import CommandError, Status
from app.cli.options import limit_option
from app.cli.shown import columns, json_line, json_option, print_object, print_rows

COLUMNS = columns(
    kind="stream.kind",
    stream="stream.id",
    seq="head.seq",
    tries="head.attempt_count",
    behind="behind",
    since="head.since",
    next="head.next_attempt_at",
    reason="head.reason",
    blocked_s="head.blocked_seconds",
    delivery="head.delivery_id",
    endpoint="endpoint_id",
)


@click.group()
def lanes() -> None:
    """Lanes: at an endpoint that keeps order, the events of each stream go out one after the other."""


@lanes.command("list")
@asks
@click.argument("endpoint_id", required=False)
@click.option("--stopped", is_flag=True, help="Only those whose first delivery has failed and waits.")
@limit_option
@json_option
def list_lanes(api: Api, endpoint_id: str | None, stopped: bool, limit: int, as_json: bool) -> None:
    """List the lanes in which something waits, of an endpoint or of all, with what is first in each."""
    named = [endpoint_id] if endpoint_id else [row["id"] for row in api.rows("/v1/endpoints", {}, 0) if row["order"]]
    found = (lane for one in named for lane in _lanes(api, one) if lane["head"]["attempt_count"] or not stopped)
    print_rows(islice(found, limit or None), COLUMNS, as_json=as_json, empty="Nothing waits.")


@lanes.command()
@asks
@click.argument("endpoint_id")
@click.argument("stream", metavar="KIND/ID")
@json_option
def show(api: Api, endpoint_id: str, stream: str, as_json: bool) -> None:
    """Show what is first in a stream's lane, why it waits, and how many wait behind it."""
    lane = _find(api, endpoint_id, stream)
    if as_json:
        click.echo(json_line(lane))
        return
    print_object({"stream": stream, **lane["head"], "behind": lane["behind"]}, as_json=False)


@lanes.command()
@asks
@click.argument("endpoint_id")
@click.argument("stream", metavar="KIND/ID")
@json_option
def skip(api: Api, endpoint_id: str, stream: str, as_json: bool) -> None:
    """Have a stream go on without the delivery that is first; that is attempted further, and arrives late."""
    _have_first(api, endpoint_id, stream, "skip", f"stepped aside; {stream} goes on", as_json=as_json)


@lanes.command()
@asks
@click.argument("endpoint_id")
@click.argument("stream", metavar="KIND/ID")
@json_option
def retry(api: Api, endpoint_id: str, stream: str, as_json: bool) -> None:
    """Attempt the delivery that is first in a stream's lane again, now."""
    _have_first(api, endpoint_id, stream, "retry", "to be attempted now", as_json=as_json)


def _have_first(api: Api, endpoint_id: str, stream: str, act: str, done: str, *, as_json: bool) -> None:
    """Have the delivery that is first in a lane skipped or retried, and say so. act: as in its path."""
    head = _find(api, endpoint_id, stream)["head"]
    now = api.post(f"/v1/deliveries/{part(head['delivery_id'])}/{act}")
    click.echo(json_line(now) if as_json else f"{now['id']} (seq {head['seq']}) {done}")


def _lanes(api: Api, endpoint_id: str) -> Iterator[dict[str, Any]]:
    for lane in api.rows(f"/v1/endpoints/{part(endpoint_id)}/lanes", {}, 0):
        yield lane | {"endpoint_id": endpoint_id}


def _find(api: Api, endpoint_id: str, stream: str) -> dict[str, Any]:
    kind, id = stream_name(stream).split(":", 1)
    query = {"stream_kind": kind, "stream_id": id}
    lane = next(api.rows(f"/v1/endpoints/{part(endpoint_id)}/lanes", query, 1), None)
    if lane is None:
        raise CommandError(f"nothing of {stream} waits for {endpoint_id}", Status.NOT_FOUND)
    return lane


commands = (lanes,)
