"""The server as it answers over HTTP, and a test delivery through all of it: web, PostgreSQL, a worker, a receiver."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from app.cli.api import Api, part
from app.cli.checkup import Finding
from app.cli.command import CommandError, Status
from app.client import WebhookVerificationError, verify_webhook
from app.client.receiving import WebhookServer

TEST_SECONDS = 20.0  # an attempt may take 15 s
LOOK_SECONDS = 0.2
NO_EVENT = "twofold.doctor"  # no event is of this type: the endpoint gets the test alone
NAME = "test delivery"


def check_server(api: Api) -> list[Finding]:
    """Whether the server is ready, and whether it takes our key."""
    try:
        answer = api.answered("GET", "/readyz", timeout=5)
        state = answer.json()
    except CommandError as error:
        return [Finding("server", "fail", str(error), "start twofold web, or name the server's right address")]
    except ValueError:
        return [Finding("server", "fail", f"{api.server.url} is not Twofold", "name the server's right address")]
    found = [Finding("server", "ok", f"{api.server.url} is ready")]
    if answer.status_code != 200:
        found = [Finding("server", "fail", str(state.get("detail", state)), "the checks above say more")]
    elif state["status"] != "ready":
        mend = "start Redis, or mend the web processes' REDIS_URL: streams and webhooks are late without it"
        found = [Finding("server", "warn", f"{api.server.url} works without Redis", mend)]
    return [*found, _key(api)]


def _key(api: Api) -> Finding:
    try:
        api.get("/v1/endpoints", {"limit": 1})
    except CommandError as error:
        mend = "use a key that has the scope manage, and with a platform key --workspace"
        return Finding("key", "fail", str(error), mend)
    return Finding("key", "ok", f"accepted (from {api.server.origin})")


def try_delivery(api: Api, endpoint_id: str | None, sleep: Callable[[float], object] = time.sleep) -> Finding:
    """Send a test to an endpoint, or to a receiver of our own on this machine, and wait for what comes of it."""
    try:
        if endpoint_id:
            return _outcome(api, endpoint_id, sleep)
        with _receiver(api) as (own, received):
            found = _outcome(api, own, sleep)
            if found.state == "ok" and received != [True]:
                return Finding(NAME, "fail", "the webhook came with a wrong signature", "is a proxy changing its body?")
            return found
    except CommandError as error:
        if endpoint_id is None and error.status == Status.REFUSED:
            told = "this server does not send to this machine; test an endpoint instead: --endpoint ep_…"
            return Finding(NAME, "skip", f"{told} ({error})")
        return Finding(NAME, "fail", str(error), "the answer says why it could not be made")


def _outcome(api: Api, endpoint_id: str, sleep: Callable[[float], object]) -> Finding:
    """Ask for a test and look at its delivery until it has been attempted."""
    event = api.post(f"/v1/endpoints/{part(endpoint_id)}/test")
    deadline = time.monotonic() + TEST_SECONDS
    delivery: dict[str, Any] = {}
    while time.monotonic() < deadline:
        delivery = next(api.rows(f"/v1/events/{event['id']}/deliveries", {}, 1), {})
        if delivery.get("attempt_count") or delivery.get("finished_at"):
            break
        sleep(LOOK_SECONDS)
    if delivery.get("status") == "delivered":
        return Finding(NAME, "ok", f"delivered ({delivery['id']})")
    if not delivery.get("attempt_count"):
        told = f"not attempted within {TEST_SECONDS:.0f} s"
        return Finding(NAME, "fail", told, "start twofold worker; its log says why it does not deliver")
    told = f"attempted, and not taken: {delivery['reason']}"
    return Finding(NAME, "fail", told, f"see what was answered: twofold deliveries show {delivery['id']}")


@contextmanager
def _receiver(api: Api) -> Iterator[tuple[str, list[bool]]]:
    """An endpoint on this machine, and for each webhook that came whether its signature was right."""
    received: list[bool] = []
    secrets: list[str] = []

    def take(headers: dict[str, str], body: bytes) -> int:
        try:
            verify_webhook(secrets, headers, body)
        except WebhookVerificationError:
            received.append(False)
            return 400
        received.append(True)
        return 204

    with WebhookServer(0, take) as receiver:
        Thread(target=receiver.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        body = {
            "url": f"http://127.0.0.1:{receiver.server_port}/",
            "description": "a test by twofold doctor, which deletes it again",
            "event_types": [NO_EVENT],
        }
        made = api.post("/v1/endpoints", body)
        secrets.append(made["secret"])
        try:
            yield made["id"], received
        finally:
            api.json("DELETE", f"/v1/endpoints/{part(made['id'])}")
            receiver.shutdown()
