"""`twofold tail`: a stream, or the delivery log, as it happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from app.cli.api import Api, asks, refusal, stream_path
from app.cli.deliveries import STATES
from app.cli.shown import cell, clock, json_option, spelled_safe, styled

if TYPE_CHECKING:
    from app.client.parse import StreamEvent


@click.command()
@asks
@click.argument("stream", metavar="KIND/ID", required=False)
@click.option("--deliveries", is_flag=True, help="Follow the delivery log instead of a stream.")
@click.option(
    "--after", type=click.IntRange(min=0), metavar="SEQ", help="Begin behind this seq (0: at the first event)."
)
@click.option("--type", metavar="TYPE", help="Only these types, separated by commas; of the log, one such as call.*.")
@click.option("--status", type=click.Choice(STATES), help="Of the log: only deliveries in this state.")
@click.option("--endpoint", metavar="ID", help="Of the log: only deliveries to this endpoint.")
@json_option
def tail(
    api: Api,
    stream: str | None,
    deliveries: bool,
    after: int | None,
    type: str | None,
    status: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Follow a stream until it ends, or until Ctrl-C. After a cut it goes on where it was: nothing is missed.

    The delivery log (--deliveries) is a best-effort view; twofold deliveries list is the record.
    """
    if bool(stream) == deliveries:
        raise click.UsageError("give KIND/ID of a stream, or --deliveries")
    if stream:
        if status or endpoint:
            raise click.UsageError("--status and --endpoint are for --deliveries")
        found = api.get(stream_path(stream))  # says at once what is wrong; a stream goes on trying for ever
        last = str(found["last_seq"]) if found["status"] == "ended" else None
        path = _path(f"{stream_path(stream)}/live", {"after_seq": after, "types": type})
    else:
        if after is not None:
            raise click.UsageError("--after is for a stream")
        last = None
        api.get("/v1/deliveries", {"limit": 1})
        path = _path("/v1/deliveries/live", {"status": status, "endpoint_id": endpoint, "event_type": type})
    _follow(api, path, last, as_json=as_json, log=deliveries)


def _follow(api: Api, path: str, last: str | None, *, as_json: bool, log: bool) -> None:
    """Print what comes. last: the id behind which nothing comes any more, where that is known."""
    from app.client import StreamRefused

    show = logged if log else pretty
    with api.stream(path) as stream:
        try:
            for event in stream:
                click.echo(spelled_safe(event.data) if as_json else show(event))
                if event.id == last:
                    return
        except StreamRefused as refused:
            raise refusal(refused.status, refused.body) from None
        except KeyboardInterrupt:
            if stream.last_event_id and not log:
                click.echo(f"\nGo on with: --after {cell(stream.last_event_id)}", err=True)


def pretty(event: StreamEvent) -> str:
    """An event of a stream on one line."""
    try:
        envelope = json.loads(event.data)
        data = json.dumps(envelope["data"], ensure_ascii=False)
        return f"{clock(envelope['timestamp'])}  {envelope['seq']:>5}  {cell(envelope['type'])}  {cell(data)}"
    except (ValueError, KeyError, TypeError):  # a frame that is no event, such as `reset`
        return f"{cell(event.type)}  {cell(event.data)}"


def logged(event: StreamEvent) -> str:
    """An entry of the delivery log on one line."""
    try:
        delivery: Mapping[str, Any] = json.loads(event.data)
        attempt = delivery["attempt"]
        code = f" {attempt['status_code']}" if attempt["status_code"] else ""
        status = styled(delivery["status"], delivery["status"])
        return (
            f"{clock(attempt['started_at'])}  {delivery['id']}  {cell(delivery['event_type'])} to"
            f" {delivery['endpoint_id']}  attempt {attempt['number']}: {attempt['outcome']}{code},"
            f" {attempt['duration_ms']} ms, {status}"
        )
    except (ValueError, KeyError, TypeError):
        return f"{cell(event.type)}  {cell(event.data)}"


def _path(path: str, query: Mapping[str, Any]) -> str:
    asked = urlencode({name: value for name, value in query.items() if value is not None})
    return f"{path}?{asked}" if asked else path


commands = (tail,)
