"""What is due is sent: the stored bytes, signed so that others can verify it, and the answer is kept."""

from __future__ import annotations

import json

import pytest
from standardwebhooks import Webhook

from app.client import signatures
from app.core import ids
from app.delivery import endpoints
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World


def headers(seen: Seen) -> dict[str, str]:
    return {name.lower(): value for name, _, value in (line.partition(": ") for line in seen.head[1:])}


def test_an_event_arrives_as_it_was_stored_and_verifies(world: World) -> None:
    data = '{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\u2028é😀"}'
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        (event,) = world.publish(data=data)
        assert world.drain().run() == 1
    (seen,) = receiver.seen
    assert seen.body == world.one("SELECT body FROM events")
    assert data.encode() in seen.body
    assert headers(seen)["webhook-id"] == event.id
    assert headers(seen)["content-type"] == "application/json"
    Webhook(world.secrets(endpoint_id)["secret"]).verify(seen.body, headers(seen))
    row = world.delivery()
    assert (row.status, row.reason, row.attempt_count, row.lease_token) == ("delivered", None, 1, None)
    assert row.finished_at is not None


def test_the_attempt_keeps_what_the_receiver_answered(world: World) -> None:
    answer = b"HTTP/1.1 201 Made\r\nX-One: a\r\nX-Two: \xe9\r\nx-one: b\r\nContent-Length: 3\r\n\r\nj\xffa"
    with ScriptedServer(answering(answer)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
    (attempt,) = world.attempts()
    assert (attempt.number, attempt.outcome, attempt.status_code) == (1, "success", 201)
    assert (attempt.endpoint_id, attempt.workspace_id) == (endpoint_id, world.workspace_id)
    assert attempt.response_headers == {"X-One": "a, b", "X-Two": "é", "Content-Length": "3"}
    assert attempt.response_body == b"j\xffa"
    assert attempt.remote_address == "127.0.0.1"
    assert attempt.trigger == "schedule"
    assert ids.created_at_of(attempt.id) == attempt.created_at == ids.truncate(attempt.started_at)
    assert world.delivery().created_at <= attempt.started_at <= world.now()


def test_every_matching_endpoint_gets_each_event_once(world: World) -> None:
    with ScriptedServer(answering(OK)) as one, ScriptedServer(answering(OK)) as two:
        world.endpoint(one.url, event_types=["call.*"])
        world.endpoint(two.url, stream_kinds=["bot"])
        world.publish(60)
        world.publish(40, kind="bot")
        world.publish(30, type="other", kind="bot")
        drain = world.drain()
        assert drain.run() == 60 + 40 + 40 + 30
        assert drain.run() == 0
    assert len({headers(seen)["webhook-id"] for seen in one.seen}) == len(one.seen) == 100
    assert len({headers(seen)["webhook-id"] for seen in two.seen}) == len(two.seen) == 70


def test_customer_headers_are_sent(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, headers={"Authorization": "Bearer geheim", "X-Plain": "ä"})
        world.publish()
        world.drain().run()
    sent = headers(receiver.seen[0])
    assert sent["authorization"] == "Bearer geheim"
    assert sent["x-plain"] == "ä"


def test_after_a_rotation_the_old_and_the_new_secret_sign_and_an_expired_one_does_not(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        first = world.secrets(endpoint_id)["secret"]
        with world.database.session() as session:
            endpoints.rotate_secret(session, world.settings, world.workspace_id, endpoint_id)
        second = world.secrets(endpoint_id)["secret"]
        drain = world.drain()
        world.publish()
        drain.run()
        world.sql("UPDATE endpoint_secrets SET expires_at = now() WHERE expires_at IS NOT NULL")
        world.publish()
        drain.run()  # the same drain: a change takes effect at its next claim
    both, new = (headers(seen) for seen in receiver.seen)
    assert len(both["webhook-signature"].split()) == 2
    for secret in (first, second):
        Webhook(secret).verify(receiver.seen[0].body, both)
    Webhook(second).verify(receiver.seen[1].body, new)
    assert len(new["webhook-signature"].split()) == 1


def test_an_ed25519_endpoint_gets_both_kinds_of_signature(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, signing="ed25519")
        world.publish()
        world.drain().run()
    (seen,), sent = receiver.seen, headers(receiver.seen[0])
    assert [part.split(",")[0] for part in sent["webhook-signature"].split()] == ["v1", "v1a"]
    secrets = world.secrets(endpoint_id)
    Webhook(secrets["secret"]).verify(seen.body, sent)
    signatures.verify(
        [secrets["public_key"]],
        sent["webhook-id"],
        sent["webhook-timestamp"],
        sent["webhook-signature"],
        seen.body,
        now=int(sent["webhook-timestamp"]),
    )


def test_a_changed_url_and_changed_headers_count_from_the_next_claim(world: World) -> None:
    with ScriptedServer(answering(OK)) as one, ScriptedServer(answering(OK)) as two:
        endpoint_id = world.endpoint(one.url, headers={"X-Which": "one"})
        drain = world.drain()
        world.publish()
        drain.run()
        world.change(endpoint_id, url=two.url, headers={"X-Which": "two"})
        world.publish()
        drain.run()
    assert [headers(seen)["x-which"] for seen in one.seen] == ["one"]
    assert [headers(seen)["x-which"] for seen in two.seen] == ["two"]


def test_a_test_delivery_has_one_attempt_only(world: World) -> None:
    with ScriptedServer(answering(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")) as receiver:
        endpoint_id = world.endpoint(receiver.url, event_types=["nothing.else"])
        other = world.endpoint(receiver.url)
        world.publish(type="twofold.test", only=endpoint_id)
        world.drain().run()
    row = world.delivery()
    assert (row.endpoint_id, row.status, row.reason) == (endpoint_id, "failed", "test_failed: http_error 500")
    assert [attempt.trigger for attempt in world.attempts()] == ["test"]
    assert world.deliveries(other) == []


def test_an_unreachable_receiver_is_recorded_with_the_kind_of_failure(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    world.drain().run()
    (attempt,) = world.attempts()
    assert (attempt.outcome, attempt.status_code, attempt.response_body) == ("connect_error", None, None)
    assert attempt.error
    row = world.delivery()
    assert (row.status, row.reason, row.window_attempts) == ("pending", "connect_error", 1)


@pytest.mark.parametrize("what", ["secret", "headers"])
def test_a_lost_secret_key_fails_the_attempt_with_its_reason_and_a_restored_one_delivers(
    world: World, what: str
) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, headers={"X-A": "b"} if what == "headers" else {})
        world.publish()
        other = "another key of thirty-two letters"
        assert world.drain(secret_key=other).run() == 0
        (attempt,) = world.attempts()
        assert attempt.outcome == "protocol_error"
        assert "SECRET_KEY has changed" in attempt.error
        assert world.delivery().status == "pending"
        assert world.endpoint_row(endpoint_id).consecutive_failures == 0  # it is not the endpoint's fault
        world.make_due()
        assert world.drain(secret_key=other, secret_key_previous=(world.settings.secret_key,)).run() == 1
    assert world.delivery().status == "delivered"
    assert json.loads(receiver.seen[0].body)["type"] == "call.turn"


def test_an_outcome_that_cannot_be_stored_does_not_take_its_neighbours_along(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(3)
        victim = world.deliveries()[1].id
        world.sql(f"ALTER TABLE attempts ADD CONSTRAINT refused CHECK (delivery_id <> '{victim}')")
        world.drain().run()
    assert world.statuses() == {"delivered": 2, "pending": 1}
    assert len(world.attempts()) == 2
