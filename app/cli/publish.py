"""`twofold publish`: sends events, and repeats until they are stored."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from secrets import token_hex
from typing import Any, BinaryIO

import click

from app.cli.api import Api, asks, refusal
from app.cli.command import CommandError, Status
from app.cli.event_lines import Line, completed, is_json, read_lines
from app.cli.publishing import MOST_EVENTS, Answer, Publisher, batches
from app.cli.shown import cell, json_line, json_option

RETRIES = 8  # with the pauses in between, two minutes: a restart, or a database that changes over


@click.command()
@asks
@click.argument("file", type=click.File("rb"), required=False)
@click.option("--stream", metavar="KIND/ID", help="The stream of the event, or of those in FILE that name none.")
@click.option("--type", metavar="TYPE", help="The type of the event, or of those in FILE that name none.")
@click.option("--data", metavar="JSON", help="The payload of one event, instead of FILE; needs --stream and --type.")
@click.option(
    "--idempotency-key",
    "key",
    metavar="TEXT",
    help="Of the event; for FILE the beginning of each line's key, so that a second run stores nothing twice.",
)
@click.option("--batch", type=click.IntRange(1, 1000), default=MOST_EVENTS, help="Most events in a request.")
@click.option(
    "--retries", type=click.IntRange(0), default=RETRIES, show_default=True, help="How often in a row to try again."
)
@json_option
def publish(
    api: Api,
    file: BinaryIO | None,
    stream: str | None,
    type: str | None,
    data: str | None,
    key: str | None,
    batch: int,
    retries: int,
    as_json: bool,
) -> int:
    """Send events: one (--data), or those of FILE (- is standard input): a JSON object, an array, or one object a line.

    An event is {"stream": {"kind": "call", "id": "call_42"}, "type": "call.started", "data": {…}}. Each gets an
    idempotency key, so that what is repeated after a failure is stored once. Status 1: some were refused.
    """
    if (file is None) == (data is None):
        raise click.UsageError("give FILE (- is standard input), or --data with --stream and --type")
    publisher = Publisher(api, retries=retries, sleep=time.sleep)
    defaults = _defaults(stream, type)
    if data is not None:
        return _publish_one(publisher, data, defaults, key, as_json=as_json)
    assert file is not None
    run = key or f"cli-{token_hex(8)}"
    lines = map(partial(_ready, defaults=defaults, key=run), read_lines(file))
    return _publish_all(publisher, lines, batch, _size(file), run, as_json=as_json)


def _publish_one(publisher: Publisher, data: str, defaults: dict[str, Any], key: str | None, *, as_json: bool) -> int:
    if len(defaults) < 2:
        raise click.UsageError("--data needs --stream and --type")
    if not is_json(data.encode()):
        raise click.BadParameter("is not JSON", param_hint="--data")
    named = {**defaults, "idempotency_key": key or f"cli-{token_hex(8)}"}
    event = completed(b'{"data":' + data.replace("\n", " ").encode() + b"}", named)
    (answer,) = publisher.send([Line(1, event, len(event))])
    if not answer.accepted:
        raise refusal(answer.body["status"], json.dumps(answer.body))
    click.echo(json_line(answer.body) if as_json else _stored(answer.body))
    return Status.OK


def _publish_all(
    publisher: Publisher, lines: Iterator[Line], most: int, size: int | None, run: str, *, as_json: bool
) -> int:
    tally = Tally()
    try:
        with _progress(size) as bar:
            for group in batches(lines, most):
                for answer in publisher.send(group):
                    tally = tally.with_one(answer)
                    _tell(answer, as_json=as_json)
                if bar:
                    bar.update(sum(line.size for line in group))
    except BaseException:
        click.echo(f"{tally}. Run it again with --idempotency-key {run}: nothing is stored twice.", err=True)
        raise
    click.echo(str(tally), err=True)
    return Status.FAILED if tally.refused else Status.OK


@dataclass(frozen=True)
class Tally:
    """What became of the events so far."""

    accepted: int = 0
    repeats: int = 0
    refused: int = 0

    def with_one(self, answer: Answer) -> Tally:
        """With one more answer."""
        if not answer.accepted:
            return replace(self, refused=self.refused + 1)
        if answer.body.get("duplicate"):
            return replace(self, repeats=self.repeats + 1)
        return replace(self, accepted=self.accepted + 1)

    def __str__(self) -> str:
        told = f"{self.accepted:,} accepted"
        told += f", {self.repeats:,} stored before" if self.repeats else ""
        return told + (f", {self.refused:,} refused" if self.refused else "")


def _tell(answer: Answer, *, as_json: bool) -> None:
    if as_json:
        click.echo(json_line({"line": answer.line.number, **answer.body}))
    elif not answer.accepted:
        told = refusal(answer.body["status"], json.dumps(answer.body))
        click.echo(f"line {answer.line.number}: {cell(str(told))}", err=True)


def _stored(event: dict[str, Any]) -> str:
    again = ", stored before" if event["duplicate"] else ""
    return f"{event['id']} {event['stream']['kind']}/{event['stream']['id']} seq {event['seq']}{again}"


def _defaults(stream: str | None, type: str | None) -> dict[str, Any]:
    """The members that the options give."""
    found: dict[str, Any] = {}
    if stream is not None:
        kind, slash, id = stream.partition("/")
        if not (kind and slash and id):
            raise CommandError(f"{stream!r} is not a stream; write its kind and its id: call/call_42", Status.USAGE)
        found["stream"] = {"kind": kind, "id": id}
    return found | ({"type": type} if type is not None else {})


def _ready(line: Line, *, defaults: dict[str, Any], key: str) -> Line:
    return replace(line, event=completed(line.event, {**defaults, "idempotency_key": f"{key}:{line.number}"}))


def _size(file: BinaryIO) -> int | None:
    """Bytes of a regular file, None for a pipe."""
    try:
        size = os.fstat(file.fileno()).st_size
    except (OSError, io.UnsupportedOperation):
        return None
    return size or None


def _progress(size: int | None) -> AbstractContextManager[Any]:
    """A bar on standard error where that is a terminal and it is known how much there is."""
    if size is None or not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=size, label="Publishing", file=sys.stderr, show_pos=False)


commands = (publish,)
