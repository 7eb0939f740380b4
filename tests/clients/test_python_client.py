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
        assert acting.keys.get(key["id"])["prefix"] == key["prefix"]
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


def test_what_an_event_carries_and_why_it_came(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client:
        endpoint = client.endpoints.put("nouns:eu", "https://example.com/eu", channels=["eu"], event_types=["tagged.*"])
        assert client.endpoints.put("nouns:eu", "https://example.com/eu")["event_types"] is None
        stored = client.events.publish("nouns", "n_2", "tagged.made", {}, metadata={"tenant": 7}, channels=["eu"])
        assert client.events.get(stored["id"])["metadata"] == {"tenant": 7}
        (told,) = client.events.explain(stored["id"], endpoint_id=endpoint["id"])
        assert told["delivery"] is not None
        assert [one["state"] for one in client.endpoints.changes(endpoint["id"])] == ["enabled"]
        example = client.event_types.put("tagged.made", description="Made.", example={"n": 1}, check="warn")
        assert client.event_types.get("tagged.made") == example
        assert example in list(client.event_types.each())
        assert client.endpoints.test(endpoint["id"], type="tagged.made")["type"] == "tagged.made"
        client.event_types.delete("tagged.made")
        client.endpoints.delete(endpoint["id"])


def test_bulk_retries_portal_links_and_tokens(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client:
        assert client.bulk_retries.count(status="failed", event_type="nobody.*")["count"] == 0
        bulk = client.bulk_retries.create(status="failed", event_type="nobody.*")
        assert client.bulk_retries.get(bulk["id"])["filters"] == bulk["filters"]
        assert bulk["id"] in [one["id"] for one in client.bulk_retries.each()]
        client.bulk_retries.cancel(bulk["id"])
        link = client.portal_links.create(["operate"])
        assert link["id"] in [one["id"] for one in client.portal_links.each()]
        client.portal_links.revoke(link["id"])
        client.streams.open("nouns", "n_3")
        token = client.streams.make_token("nouns", "n_3")
        assert client.tokens.verify(token["token"])["active"]
        assert client.tokens.verify("nonsense") == {"active": False}
    with Client(server.base_url, server.platform_key) as platform:
        assert platform.workspaces.put("nouns-put", "Put")["name"] == "Put"
        platform.workspaces.delete("nouns-put")


def test_the_feed_is_read_and_followed_from_any_cursor(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client:
        start = client.feed.page("latest")["cursor"]
        ids = [client.events.publish("fed", f"f_{n}", "fed.made", {"n": n})["id"] for n in range(3)]
        entries = list(client.feed.each(start, kinds=["fed"]))
        assert [entry["event"]["id"] for entry in entries] == ids
        page = client.feed.page(entries[1]["cursor"], streams=["fed:f_2"], wait=1, limit=1)
        assert [entry["event"]["id"] for entry in page["data"]] == ids[2:]
        with client.feed.live(start, types=["fed.*"]) as live:
            assert [event.id for _, event in zip(entries, live, strict=False)] == [one["cursor"] for one in entries]
        large = {"path": "/n", "gte": 2}
        assert [entry["event"]["id"] for entry in client.feed.each(start, content_filter=large)] == ids[2:]
        with client.feed.live(start, content_filter=large) as live:
            assert ids[2] in next(iter(live)).data
        with client.feed.live(kinds=["fed"]) as live:
            assert live.last_event_id
            late = client.events.publish("fed", "f_9", "fed.made", {})["id"]
            assert late in next(iter(live)).data


def test_a_token_opens_the_feed_of_what_it_names(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client, Client(server.base_url, "pk_none") as visitor:
        token = client.feed.make_token(streams=["fed:t_1"])
        assert token["streams"] == ["fed:t_1"]
        assert token["id"] in [one["id"] for one in client.feed.tokens()]
        assert visitor.feed.live(token=lambda: token["token"]).last_event_id == "", "a token reads no pages"
        start = client.feed.page("latest")["cursor"]
        client.events.publish("fed", "t_1", "fed.made", {})
        with visitor.feed.live(start, token=lambda: token["token"]) as live:
            assert "t_1" in next(iter(live)).data
        client.feed.revoke_token(token["id"])
        assert token["id"] not in [one["id"] for one in client.feed.tokens()]


def test_a_consumer_reads_commits_and_is_moved(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client:
        made = client.consumers.put("nouns", kinds=["pulled"], start="latest")
        assert (made["name"], made["kinds"], made["lag"]["events"]) == ("nouns", ["pulled"], 0)
        assert made["name"] in [one["name"] for one in client.consumers.each()]
        ids = [client.events.publish("pulled", "p_1", "pulled.made", {"n": n})["id"] for n in range(3)]
        page = client.consumers.read("nouns", limit=2, wait=5, lease_seconds=60)
        assert [entry["event"]["id"] for entry in page["data"]] == ids[:2]
        with pytest.raises(Refused) as refused:
            client.consumers.read("nouns")
        assert (refused.value.code, 0 < refused.value.retry_after_seconds <= 60) == ("lease_held", True)
        assert page["lease"]
        place = client.consumers.commit("nouns", page["lease"], page["data"][0]["cursor"])
        assert place["cursor"] == client.consumers.get("nouns")["cursor"] == page["data"][0]["cursor"]
        pages = client.consumers.pages("nouns", wait=0)
        assert [entry["event"]["id"] for entry in next(pages)] == ids[1:]
        assert next(pages) == []
        pages.close()
        client.consumers.seek("nouns", made["cursor"])
        assert [entry["event"]["id"] for entry in next(client.consumers.pages("nouns"))] == ids
        client.consumers.delete("nouns")


def test_order_is_seen_and_what_is_first_may_be_skipped(server: RunningServer) -> None:
    with Client(server.base_url, server.workspace_key) as client:
        endpoint = client.endpoints.create("https://example.com/order", event_types=["ordered.*"], order="stream")
        assert endpoint["order"] == "stream"
        for n in range(2):
            client.events.publish("ordered", "o_1", "ordered.made", {"n": n})
        (lane,) = client.endpoints.lanes(endpoint["id"])
        assert (lane["stream"]["id"], lane["head"]["seq"], lane["behind"]) == ("o_1", 1, 1)
        assert client.deliveries.skip(lane["head"]["delivery_id"])["id"] == lane["head"]["delivery_id"]
        (lane,) = client.endpoints.lanes(endpoint["id"])
        assert lane["head"]["seq"] == 2
        client.endpoints.delete(endpoint["id"])
