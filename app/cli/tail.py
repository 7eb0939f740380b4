"""`twofold tail`: a stream, the feed of all streams, or the delivery log, as it happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import click

from app.cli.api import Api, asks, refusal, stream_name, stream_path
from app.cli.command import CommandError, Status
from app.cli.deliveries import STATES
from app.cli.moment import place
from app.cli.shown import cell, clock, json_option, spelled_safe, styled

if TYPE_CHECKING:
    from app.client.parse import StreamEvent


@click.command()
@asks
@click.argument("streams", metavar="[KIND/ID]...", nargs=-1)
@click.option("--feed", is_flag=True, help="Follow everything of the workspace, or the streams that are named.")
@click.option("--deliveries", is_flag=True, help="Follow the delivery log instead of a stream.")
@click.option(
    "--after",
    metavar="SEQ",
    help="Begin behind this seq (0: at the first event); of the feed: a cursor, a time, 2h, earliest or latest.",
)
@click.option("--type", metavar="TYPE", help="Only these types, separated by commas; of the log, one such as call.*.")
@click.option("--kind", metavar="KIND", help="Of the feed: only streams of these kinds, separated by commas.")
@click.option("--filter", metavar="JSON", help='Of the feed: only such data, as {"path": "/amount", "gte": 100}.')
@click.option("--status", type=click.Choice(STATES), help="Of the log: only deliveries in this state.")
@click.option("--endpoint", metavar="ID", help="Of the log: only deliveries to this endpoint.")
@json_option
def tail(
    api: Api,
    streams: tuple[str, ...],
    feed: bool,
    deliveries: bool,
    after: str | None,
    type: str | None,
    kind: str | None,
    filter: str | None,
    status: str | None,
    endpoint: str | None,
    as_json: bool,
) -> None:
    """Follow a stream until it ends, or until Ctrl-C. After a cut it goes on where it was: nothing is missed.

    The feed (--feed) is all of the workspace's streams in one order. The delivery log (--deliveries) is a best-effort
    view; twofold deliveries list is the record.
    """
    if (status or endpoint) and not deliveries:
        raise click.UsageError("--status and --endpoint are for --deliveries")
    if (kind or filter) and not feed:
        raise click.UsageError("--kind and --filter are for --feed")
    if feed and not deliveries:
        follow_feed(api, asked_of_feed(streams, kind, type, filter, after), as_json=as_json)
    elif len(streams) == 1 and not deliveries:
        path = _path(f"{stream_path(streams[0])}/live", {"after_seq": _seq(after), "types": type})
        found = api.get(stream_path(streams[0]))  # a stream goes on trying for ever
        last = str(found["last_seq"]) if found["status"] == "ended" else None
        _follow(api, path, last, as_json=as_json, show=pretty)
    elif deliveries and not (streams or feed):
        if after is not None:
            raise click.UsageError("--after is for a stream, or the feed")
        api.get("/v1/deliveries", {"limit": 1})
        path = _path("/v1/deliveries/live", {"status": status, "endpoint_id": endpoint, "event_type": type})
        _follow(api, path, None, as_json=as_json, show=logged)
    else:
        raise click.UsageError("give KIND/ID of a stream, or --deliveries, or --feed")


def asked_of_feed(
    streams: tuple[str, ...], kind: str | None, type: str | None, filter: str | None, after: str | None
) -> dict[str, Any]:
    """What the feed is asked for. after: as of --after of the feed. Raises CommandError, click.UsageError."""
    named = ",".join(map(stream_name, streams)) or None
    return {
        "after": None if after is None else place(after),
        "streams": named,
        "kinds": kind,
        "types": type,
        "content_filter": filter,
    }


def follow_feed(api: Api, asked: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the feed as it comes. asked: its query; what is None is left out."""
    feed_page(api, {**asked, "after": asked["after"] or "latest", "limit": 1})  # says at once what is wrong
    _follow(api, _path("/v1/feed/live", asked), None, as_json=as_json, show=of_feed)


def feed_page(api: Api, asked: Mapping[str, Any]) -> str:
    """A page of the feed, as JSON. Raises CommandError, naming the place to go on from if there is one."""
    answer = api.answered("GET", "/v1/feed", params=asked)
    if not answer.ok or answer.is_redirect:
        error = refusal(answer.status_code, answer.text, answer.headers.get("Location", ""))
        raise with_place(error, answer.text)
    try:
        text = answer.content.decode()
        json.loads(text)["cursor"]
    except (ValueError, KeyError, TypeError):
        raise CommandError(f"{api.server.url} does not answer as Twofold does") from None
    return text


def with_place(error: CommandError, text: str) -> CommandError:
    """A refusal that names the place to go on from, where the answer has one."""
    try:
        cursor = json.loads(text)["cursor"]
    except (ValueError, KeyError, TypeError):
        return error
    return CommandError(f"{error}. Go on with: --after {cell(cursor)}", Status.REFUSED)


def _seq(after: str | None) -> int | None:
    if after is not None and not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise click.UsageError("--after of a stream is the seq of an event, such as 42")
    return None if after is None else int(after)


def _follow(api: Api, path: str, last: str | None, *, as_json: bool, show: Callable[[StreamEvent], str]) -> None:
    """Print what comes. last: the id behind which nothing comes any more, where that is known."""
    from app.client import StreamRefused

    with api.stream(path) as stream:
        try:
            for event in stream:
                click.echo(spelled_safe(event.data) if as_json else show(event))
                if event.id == last:
                    return
        except StreamRefused as refused:
            raise with_place(refusal(refused.status, refused.body), refused.body) from None
        except KeyboardInterrupt:
            if stream.last_event_id and show is not logged:
                click.echo(f"\nGo on with: --after {cell(stream.last_event_id)}", err=True)


def pretty(event: StreamEvent) -> str:
    """An event of a stream on one line."""
    try:
        envelope = json.loads(event.data)
        data = json.dumps(envelope["data"], ensure_ascii=False)
        return f"{clock(envelope['timestamp'])}  {envelope['seq']:>5}  {cell(envelope['type'])}  {cell(data)}"
    except (ValueError, KeyError, TypeError):  # a frame that is no event, such as `reset`
        return f"{cell(event.type)}  {cell(event.data)}"


def of_feed(event: StreamEvent) -> str:
    """An event of the feed on one line."""
    try:
        envelope = json.loads(event.data)
        named = f"{cell(envelope['stream']['kind'])}/{cell(envelope['stream']['id'])}"
    except (ValueError, KeyError, TypeError):
        return pretty(event)
    return f"{named}  {pretty(event)}"


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
