"""The web process: publish, read, register, watch."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Any

from flask import Flask, Response, abort, jsonify, request
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session as Transaction

from bench.plain import live
from bench.plain.tables import Delivery, Endpoint, Event, Key, Session, Stream
from bench.plain.tasks import deliver

app = Flask(__name__)


def workspace_of(session: Transaction) -> str:
    """Whose key it is; 401 otherwise."""
    key = request.headers.get("Authorization", "").removeprefix("Bearer ")
    found = session.scalar(select(Key.workspace).where(Key.hash == hashlib.sha256(key.encode()).hexdigest()))
    return found or abort(401)


@app.post("/v1/events")
def publish() -> tuple[Response, int]:
    """One event, one transaction; what others are told of it follows the commit."""
    body = request.get_json()
    with Session.begin() as session:
        workspace = workspace_of(session)
        names = {"workspace": workspace, "kind": body["stream"]["kind"], "name": body["stream"]["id"]}
        advanced = (
            insert(Stream)
            .values(**names, last_seq=1)
            .on_conflict_do_update(index_elements=["workspace", "kind", "name"], set_={"last_seq": Stream.last_seq + 1})
            .returning(Stream.id, Stream.last_seq)
        )
        stream_id, seq = session.execute(advanced).one()
        event = Event(
            id=f"evt_{secrets.token_hex(12)}", stream_id=stream_id, seq=seq, type=body["type"], data=body["data"]
        )
        session.add(event)
        endpoints = session.scalars(select(Endpoint.id).where(Endpoint.workspace == workspace)).all()
        deliveries = [Delivery(event_id=event.id, endpoint_id=endpoint) for endpoint in endpoints]
        session.add_all(deliveries)
    for delivery in deliveries:
        deliver.delay(delivery.id)
    shown = {"id": event.id, "seq": seq, "stream": body["stream"], "type": event.type}
    live.publish(names, {**shown, "data": event.data})
    return jsonify(shown), 202


@app.get("/v1/streams/<kind>/<name>")
def read_stream(kind: str, name: str) -> Response:
    """Where a stream stands."""
    with Session() as session:
        stream = _stream(session, kind, name)
        return jsonify(kind=stream.kind, id=stream.name, last_seq=stream.last_seq)


@app.get("/v1/deliveries/<int:number>")
def read_delivery(number: int) -> Response:
    """How a delivery went."""
    with Session() as session:
        workspace = workspace_of(session)
        found = session.get(Delivery, number)
        if found is None or found.endpoint.workspace != workspace:
            abort(404)
        return jsonify(id=found.id, event_id=found.event_id, status=found.status, attempts=found.attempts)


@app.post("/v1/endpoints")
def register() -> tuple[Response, int]:
    """Where events are to go."""
    with Session.begin() as session:
        endpoint = Endpoint(
            workspace=workspace_of(session), url=request.get_json()["url"], secret=secrets.token_urlsafe(24)
        )
        session.add(endpoint)
    return jsonify(id=endpoint.id, secret=endpoint.secret), 201


@app.get("/v1/streams/<kind>/<name>/live")
def watch(kind: str, name: str) -> Response:
    """A stream as it happens."""
    with Session() as session:
        stream = _stream(session, kind, name)
        queue = live.subscribe(stream.workspace, kind, name)
    frames: Iterator[Any] = live.frames(queue, stream.workspace, kind, name)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return Response(frames, mimetype="text/event-stream", headers=headers)


@app.get("/healthz")
def healthz() -> str:
    """It serves."""
    return "ok"


def _stream(session: Transaction, kind: str, name: str) -> Stream:
    workspace = workspace_of(session)
    wanted = select(Stream).where(Stream.workspace == workspace, Stream.kind == kind, Stream.name == name)
    return session.scalar(wanted) or abort(404)
