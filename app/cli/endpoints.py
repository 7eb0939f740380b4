"""`twofold endpoints` and `twofold recover`: registered webhook URLs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from app.cli.api import Api, asks, part
from app.cli.command import CommandError, Status
from app.cli.moment import MOMENT
from app.cli.options import limit_option, sure, yes_option
from app.cli.shown import columns, json_line, json_option, print_object, print_rows

COLUMNS = columns(id="id", status="status", url="url", types="event_types", failing="failing_since")


@click.group()
def endpoints() -> None:
    """Webhook URLs: register them and look after them."""


@endpoints.command("list")
@asks
@limit_option
@json_option
def list_endpoints(api: Api, limit: int, as_json: bool) -> None:
    """List endpoints, newest first."""
    print_rows(api.rows("/v1/endpoints", {}, limit), COLUMNS, as_json=as_json, empty="No endpoints.")


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def show(api: Api, endpoint_id: str, as_json: bool) -> None:
    """Show an endpoint."""
    print_object(api.get(_path(endpoint_id)), as_json=as_json)


@endpoints.command()
@asks
@click.argument("url")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only this type, such as call.*; repeatable.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only streams of this kind; repeatable.")
@click.option("--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Sent with each webhook; repeatable.")
@click.option("--rate-limit", type=click.IntRange(1), metavar="N", help="So many requests a second at most.")
@click.option("--signing", type=click.Choice(["hmac", "ed25519"]), help="Which signatures it gets (default: hmac).")
@click.option("--description", metavar="TEXT", help="A note for people.")
@click.option("--order", type=click.Choice(["stream"]), help="Keep the order of each stream (see twofold lanes).")
@click.option(
    "--order-patience", type=click.IntRange(5), metavar="SECONDS", help="How long one that fails holds it up."
)
@click.option("--batch", type=click.IntRange(1, 1000), metavar="N", help="Send up to N events in one request.")
@click.option("--batch-wait", type=click.IntRange(0, 60_000), metavar="MS", help="How long an event waits for others.")
@click.option("--feed-cursor", is_flag=True, help="Send a cursor of the feed with each webhook.")
@json_option
def create(
    api: Api,
    url: str,
    types: Sequence[str],
    kinds: Sequence[str],
    headers: Sequence[str],
    rate_limit: int | None,
    signing: str | None,
    description: str | None,
    order: str | None,
    order_patience: int | None,
    batch: int | None,
    batch_wait: int | None,
    feed_cursor: bool,
    as_json: bool,
) -> None:
    """Register a webhook URL; prints its signing secret."""
    if batch_wait is not None and batch is None:
        raise click.UsageError("--batch-wait goes with --batch")
    of_batch = {} if batch_wait is None else {"max_wait_ms": batch_wait}
    wanted = {
        "url": url,
        "event_types": list(types) or None,
        "stream_kinds": list(kinds) or None,
        "headers": dict(map(_header, headers)) or None,
        "rate_limit": rate_limit,
        "signing": signing,
        "description": description,
        "order": order,
        "order_patience_seconds": order_patience,
        "batch": None if batch is None else {"max_events": batch, **of_batch},
        "feed_cursor": feed_cursor or None,
    }
    body = {name: value for name, value in wanted.items() if value is not None}
    print_object(api.post("/v1/endpoints", body), as_json=as_json)


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def enable(api: Api, endpoint_id: str, as_json: bool) -> None:
    """Let an endpoint receive webhooks again. What it has missed: twofold recover."""
    _change(api, endpoint_id, {"status": "enabled"}, as_json=as_json)


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def disable(api: Api, endpoint_id: str, as_json: bool) -> None:
    """Send an endpoint no more webhooks; what is pending is cancelled."""
    _change(api, endpoint_id, {"status": "disabled"}, as_json=as_json)


@endpoints.command()
@asks
@click.argument("endpoint_id")
@yes_option
def delete(api: Api, endpoint_id: str, yes: bool) -> None:
    """Delete an endpoint; what is pending is cancelled, its deliveries can still be read."""
    sure(yes, f"Delete the endpoint {endpoint_id}?")
    api.json("DELETE", _path(endpoint_id))


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def test(api: Api, endpoint_id: str, as_json: bool) -> None:
    """Send a test event to this endpoint alone, whatever its filters say."""
    sent = api.post(f"{_path(endpoint_id)}/test")
    click.echo(json_line(sent) if as_json else f"{sent['id']} sent; see: twofold deliveries list --event {sent['id']}")


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def secret(api: Api, endpoint_id: str, as_json: bool) -> None:
    """Print the signing secret, and former ones that still sign."""
    print_object(api.get(f"{_path(endpoint_id)}/secret"), as_json=as_json)


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def rotate(api: Api, endpoint_id: str, as_json: bool) -> None:
    """Make a new signing secret and print it; the present one also signs for another day."""
    print_object(api.post(f"{_path(endpoint_id)}/secret/rotate"), as_json=as_json)


@endpoints.command()
@asks
@click.argument("endpoint_id")
@json_option
def stats(api: Api, endpoint_id: str, as_json: bool) -> None:
    """How an endpoint has been doing, and what waits for it."""
    print_object(api.get(f"{_path(endpoint_id)}/stats"), as_json=as_json)


@click.command()
@asks
@click.argument("endpoint_id")
@click.option("--since", type=MOMENT, required=True, metavar="TIME", help="Events from then on, such as 2h.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Events before then.")
@json_option
def recover(api: Api, endpoint_id: str, since: str, until: str | None, as_json: bool) -> None:
    """Deliver again what failed, was cancelled or was missed by an endpoint, of events since a time."""
    body = {"since": since} | ({"until": until} if until else {})
    done: dict[str, Any] = {"retried": 0, "missed": 0, "complete": False}
    while not done["complete"]:  # the server does a part at a time
        part_done = api.post(f"{_path(endpoint_id)}/recover", body)
        done = {name: done[name] + part_done[name] for name in ("retried", "missed")} | {
            "complete": part_done["complete"]
        }
        if not done["complete"]:
            click.echo(f"{done['retried'] + done['missed']} so far", err=True)
    told = f"{done['retried']} deliveries to be attempted again, {done['missed']} events that it had missed"
    click.echo(json_line(done) if as_json else told)


def _path(id: str) -> str:
    return f"/v1/endpoints/{part(id)}"


def _change(api: Api, id: str, change: dict[str, Any], *, as_json: bool) -> None:
    now = api.json("PATCH", _path(id), json=change)
    click.echo(json_line(now) if as_json else f"{now['id']} {now['status']}")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise CommandError(f"{text!r} is not a header; write its name, a colon and its value", Status.USAGE)
    return name.strip(), value.strip()


commands = (endpoints, recover)
