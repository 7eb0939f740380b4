"""The worker: one task a delivery."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from typing import Any

import requests
from celery import Celery
from celery.signals import worker_process_init
from sqlalchemy import func

from bench.plain.tables import Attempt, Delivery, Session, engine

SEND_SECONDS = (5, 15)  # to connect, to answer: as the product
DELAYS_SECONDS = (5, 30, 120, 600, 1800, 3600)

app = Celery("plain", broker=os.environ["REDIS_URL"])
app.conf.update(task_ignore_result=True, task_acks_late=True, worker_prefetch_multiplier=4)
http = requests.Session()
http.trust_env = False


@worker_process_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def forget_the_parents_connections(**_: Any) -> None:
    """Connections do not survive a fork."""
    engine.dispose(close=False)


@app.task(bind=True, max_retries=len(DELAYS_SECONDS))  # type: ignore[untyped-decorator]
def deliver(self: Any, delivery_id: int) -> None:
    """Send one delivery and record the attempt."""
    with Session() as session:
        delivery = session.get_one(Delivery, delivery_id)
        session.commit()  # no transaction is open while the receiver answers; what was read stays
        body = _body(delivery)
        status, error = _send(delivery.endpoint.url, delivery.endpoint.secret, delivery.event_id, body)
        done = status is not None and status < 300
        session.add(Attempt(delivery_id=delivery.id, status_code=status, error=error))
        delivery.attempts += 1
        if done:
            delivery.status, delivery.finished_at = "delivered", func.now()
        elif self.request.retries >= self.max_retries:
            delivery.status, delivery.finished_at = "failed", func.now()
        session.commit()
    if not done and self.request.retries < self.max_retries:
        raise self.retry(countdown=DELAYS_SECONDS[self.request.retries])


def _body(delivery: Delivery) -> bytes:
    event = delivery.event
    stream = {"kind": event.stream.kind, "id": event.stream.name}
    shown = {"id": event.id, "type": event.type, "timestamp": event.created_at.isoformat(), "stream": stream}
    return json.dumps({**shown, "seq": event.seq, "data": event.data}, separators=(",", ":")).encode()


def _send(url: str, secret: str, event_id: str, body: bytes) -> tuple[int | None, str | None]:
    now = str(int(time.time()))
    signature = hmac.new(secret.encode(), f"{event_id}.{now}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "webhook-id": event_id, "webhook-timestamp": now}
    try:
        answer = http.post(url, data=body, headers={**headers, "webhook-signature": signature}, timeout=SEND_SECONDS)
    except requests.RequestException as error:
        return None, str(error)
    return answer.status_code, None
