"""The nouns of the Python package, against a running server: each method once, and what a refusal says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.processes import RunningServer
from twofold import Client, Refused


def test_workspaces_and_keys(server: RunningServer) -> None:
    with Client(server.base_url, server.platform_key) as platform:
        made = platform.workspaces.create("Nouns", uid="nouns")
        assert platform.workspaces.get("nouns") == made
        assert made in list(platform.workspaces.each())
        assert platform.workspaces.change("nouns", name="Changed")["name"] == "Changed"
        acting = Client(server.base_url, server.platform_key, workspace="nouns")
        key = acting.keys.create("own", ["publish"])
        assert [one["id"] for one in acting.keys.each()] == [key["id"]]
        acting.keys.revoke(key["id"])
        acting.close()
        platform.workspaces.delete("nouns")
        with pytest.raises(Refused) as refused:
            platform.workspaces.get("nouns")
    assert (refused.value.status, refused.value.code) == (404, "not_found")
    assert refused.value.problem["detail"] == refused.value.detail


def test_streams_events_endpoints_and_deliveries(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client:
        endpoint = client.endpoints.create("https://example.com/nouns", event_types=["nouns.*"], description="mine")
        assert client.endpoints.get(endpoint["id"])["url"] == endpoint["url"]
        assert endpoint["id"] in [one["id"] for one in client.endpoints.each()]
        assert client.streams.open("nouns", "n_1", {"a": 1})["attributes"] == {"a": 1}
        stored = client.events.publish("nouns", "n_1", "nouns.made", {"n": 1}, idempotency_key="k")
        assert client.events.publish("nouns", "n_1", "nouns.made", {"n": 1}, idempotency_key="k")["duplicate"]
        assert client.events.get(stored["id"])["data"] == {"n": 1}
        assert [one["id"] for one in client.events.each("nouns", "n_1", after_seq=0)] == [stored["id"]]
        (delivery,) = client.events.deliveries(stored["id"])
        assert delivery in list(client.deliveries.each(endpoint_id=endpoint["id"], status="pending"))
        assert client.deliveries.get(delivery["id"])["event_id"] == stored["id"]
        assert client.deliveries.retry(delivery["id"])["id"] == delivery["id"]
        assert client.endpoints.test(endpoint["id"])["seq"] > 0
        assert client.endpoints.stats(endpoint["id"])["pending"] > 0
        since = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
        assert client.endpoints.recover(endpoint["id"], since)["complete"]
        assert client.endpoints.secret(endpoint["id"])["secret"] == endpoint["secret"]
        assert client.endpoints.rotate_secret(endpoint["id"])["former"][0]["secret"] == endpoint["secret"]
        assert client.endpoints.change(endpoint["id"], status="disabled")["status"] == "disabled"
        client.endpoints.delete(endpoint["id"])
        token = client.streams.make_token("nouns", "n_1")
        assert [one["id"] for one in client.streams.tokens("nouns", "n_1")] == [token["id"]]
        client.streams.revoke_token("nouns", "n_1", token["id"])
        assert client.streams.get("nouns", "n_1")["last_seq"] == 1
        client.streams.end("nouns", "n_1")
        assert [one["id"] for one in client.streams.each(kind="nouns", status="ended")] == ["n_1"]
        with client.streams.live("nouns", "n_1", last_event_id="0", types=["nouns.*"]) as live:
            assert [event.id for event in live] == ["1"]
