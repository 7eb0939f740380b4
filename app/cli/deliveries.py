"""`twofold deliveries` and `twofold retry`: the delivery log, and having a delivery attempted again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from app.cli.api import Api, asks, part
from app.cli.moment import MOMENT
from app.cli.options import limit_option
from app.cli.shown import cell, clock, columns, json_line, json_option, print_rows, styled

COLUMNS = columns(
    id="id",
    type="event_type",
    status="status",
    tries="attempt_count",
    reason="reason",
    age="created_at",
    next="next_attempt_at",
    endpoint="endpoint_id",
)
STATES = ("pending", "delivered", "failed", "cancelled")


@click.group()
def deliveries() -> None:
    """The delivery log: one delivery is one event for one endpoint."""


@deliveries.command("list")
@asks
@click.option("--status", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--endpoint", metavar="ID", help="Only those to this endpoint.")
@click.option("--event", metavar="ID", help="Only those of this event.")
@click.option("--type", metavar="TYPE", help="Only events of this type, such as call.started or call.*.")
@click.option("--since", type=MOMENT, metavar="TIME", help="Only those made since then, such as 2h.")
@click.option("--until", type=MOMENT, metavar="TIME", help="Only those made before then.")
@limit_option
@json_option
def list_deliveries(
    api: Api,
    status: str | None,
    endpoint: str | None,
    event: str | None,
    type: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List deliveries, newest first."""
    wanted = {"status": status, "endpoint_id": endpoint, "event_type": type, "since": since, "until": until}
    if event:
        unknown = [name for name, value in wanted.items() if value and name != "status"]
        if unknown:
            raise click.UsageError("--event goes with --status and with no other filter")
    path = f"/v1/events/{part(event)}/deliveries" if event else "/v1/deliveries"
    print_rows(api.rows(path, wanted, limit), COLUMNS, as_json=as_json, empty="No deliveries.")


@deliveries.command()
@asks
@click.argument("delivery_id")
@json_option
def show(api: Api, delivery_id: str, as_json: bool) -> None:
    """Show a delivery and each of its attempts."""
    found = api.get(f"/v1/deliveries/{part(delivery_id)}")
    click.echo(json_line(found) if as_json else "\n".join(timeline(found)))


@click.command()
@asks
@click.argument("delivery_id", nargs=-1, required=True)
@json_option
def retry(api: Api, delivery_id: tuple[str, ...], as_json: bool) -> None:
    """Attempt deliveries again, now. One that has ended starts over with its whole schedule."""
    for id in delivery_id:
        now = api.post(f"/v1/deliveries/{part(id)}/retry")
        click.echo(json_line(now) if as_json else f"{now['id']} {now['status']}, to be attempted now")


def timeline(delivery: Mapping[str, Any]) -> list[str]:
    """A delivery as lines: what it is, each attempt, what comes next."""
    status = delivery["status"]
    why = f" ({cell(delivery['reason'])})" if delivery["reason"] else ""
    lines = [
        f"{delivery['id']}  {styled(status, status)}{why}",
        f"event     {delivery['event_id']}  {cell(delivery['event_type'])}",
        f"endpoint  {delivery['endpoint_id']}",
        f"{clock(delivery['created_at'])}  created",
        *(attempt_line(attempt) for attempt in delivery["attempts"]),
    ]
    if delivery["next_attempt_at"]:
        lines.append(f"{clock(delivery['next_attempt_at'])}  next attempt; given up after {delivery['deadline_at']}")
    if delivery["finished_at"]:
        lines.append(f"{clock(delivery['finished_at'])}  {styled(status, status)}")
    return lines


def attempt_line(attempt: Mapping[str, Any]) -> str:
    """An attempt on one line: when, what came of it, how long it took, where it went."""
    outcome = attempt["outcome"]
    told = [str(attempt["status_code"])] if attempt["status_code"] else []
    told += [f"{attempt['duration_ms']} ms"]
    told += [f"to {cell(attempt['remote_address'])}"] if attempt["remote_address"] else []
    told += [cell(attempt["error"])] if attempt["error"] else []
    told += [f"event {attempt['batch_position']} of {attempt['batch_size']}"] if attempt["batch_size"] else []
    by = "" if attempt["trigger"] == "schedule" else f" ({attempt['trigger']})"
    shown = styled(outcome, "success" if outcome == "success" else "failed")
    return f"{clock(attempt['started_at'])}  attempt {attempt['number']}{by}: {shown}, {', '.join(told)}"


commands = (deliveries, retry)
