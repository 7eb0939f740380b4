"""The nouns of the HTTP API, one object each: thin, typed, and named as the server's documentation names them.

    client = Client("https://events.example.com", key)
    endpoint = client.endpoints.create("https://example.org/webhooks", event_types=["call.*"])
    for delivery in client.deliveries.each(endpoint_id=endpoint["id"], status="failed"):
        client.deliveries.retry(delivery["id"])

`each` yields a whole list, page by page. Every method raises Refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, cast
from urllib.parse import quote

import requests

from . import objects
from .calls import Api, given, path
from .catalogue import BulkRetries, EventTypes, PortalLinks, Tokens
from .consumers import Consumers
from .feed import Feed
from .stream import Stream


class Workspaces:
    """Customers. They need a platform key."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, name: str, *, uid: str | None = None) -> objects.Workspace:
        return cast(objects.Workspace, self._api.ask("POST", "/v1/workspaces", given(name=name, uid=uid)))

    def get(self, workspace: str) -> objects.Workspace:
        return cast(objects.Workspace, self._api.ask("GET", path("/v1/workspaces", workspace)))

    def each(self) -> Iterator[objects.Workspace]:
        return self._api.pages("/v1/workspaces")

    def change(self, workspace: str, *, name: str | None = None, uid: str | None = None) -> objects.Workspace:
        changes = given(name=name, uid=uid)
        return cast(objects.Workspace, self._api.ask("PATCH", path("/v1/workspaces", workspace), changes))

    def put(self, uid: str, name: str) -> objects.Workspace:
        """Make the workspace of this uid, or change it to this."""
        return cast(objects.Workspace, self._api.ask("PUT", path("/v1/workspaces", uid), {"name": name}))

    def delete(self, workspace: str) -> None:
        self._api.ask("DELETE", path("/v1/workspaces", workspace))


class Keys:
    """API keys."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, name: str, scopes: Sequence[str]) -> objects.CreatedKey:
        return cast(objects.CreatedKey, self._api.ask("POST", "/v1/keys", {"name": name, "scopes": list(scopes)}))

    def each(self) -> Iterator[objects.Key]:
        return self._api.pages("/v1/keys")

    def get(self, key_id: str) -> objects.Key:
        return cast(objects.Key, self._api.ask("GET", path("/v1/keys", key_id)))

    def revoke(self, key_id: str) -> None:
        self._api.ask("DELETE", path("/v1/keys", key_id))


class Events:
    """Events that are stored. Publishing many is what a Publisher is for."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def publish(
        self,
        kind: str,
        id: str,
        type: str,
        data: Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        channels: Sequence[str] | None = None,
    ) -> objects.EventOut:
        """Store one event. It is repeated under an idempotency key of its own unless you give one. metadata: travels in
        the envelope; channels: labels that endpoints can ask for."""
        event = {"stream": {"kind": kind, "id": id}, "type": type, "data": dict(data)}
        event |= given(idempotency_key=idempotency_key, metadata=metadata, channels=channels)
        return cast(objects.EventOut, self._api.ask("POST", "/v1/events", event))

    def get(self, event_id: str) -> objects.Event:
        return cast(objects.Event, self._api.ask("GET", path("/v1/events", event_id)))

    def each(
        self, kind: str, id: str, *, after_seq: int | None = None, type: str | None = None
    ) -> Iterator[objects.Event]:
        """A stream's events, oldest first."""
        return self._api.pages("/v1/events", stream_kind=kind, stream_id=id, after_seq=after_seq, type=type)

    def deliveries(self, event_id: str, *, status: str | None = None) -> Iterator[objects.Delivery]:
        return self._api.pages(path("/v1/events", event_id, "deliveries"), status=status)

    def explain(self, event_id: str, *, endpoint_id: str | None = None) -> Iterator[objects.Explanation]:
        """Why the event has reached each endpoint, or has not."""
        return self._api.pages(path("/v1/events", event_id, "explain"), endpoint_id=endpoint_id)


class Streams:
    """Live subjects."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def open(self, kind: str, id: str, attributes: Mapping[str, Any] | None = None) -> objects.StreamInfo:
        body = given(attributes=attributes)
        return cast(objects.StreamInfo, self._api.ask("PUT", path("/v1/streams", kind, id), body))

    def get(self, kind: str, id: str) -> objects.StreamInfo:
        return cast(objects.StreamInfo, self._api.ask("GET", path("/v1/streams", kind, id)))

    def each(self, *, kind: str | None = None, status: str | None = None) -> Iterator[objects.StreamInfo]:
        return self._api.pages("/v1/streams", kind=kind, status=status)

    def end(self, kind: str, id: str) -> objects.StreamInfo:
        return cast(objects.StreamInfo, self._api.ask("POST", path("/v1/streams", kind, id, "end")))

    def make_token(self, kind: str, id: str) -> objects.Token:
        return cast(objects.Token, self._api.ask("POST", path("/v1/streams", kind, id, "tokens")))

    def tokens(self, kind: str, id: str) -> list[objects.TokenInfo]:
        found = self._api.ask("GET", path("/v1/streams", kind, id, "tokens"))
        return cast("list[objects.TokenInfo]", found["data"])

    def revoke_token(self, kind: str, id: str, token_id: str) -> None:
        self._api.ask("DELETE", path("/v1/streams", kind, id, "tokens", token_id))

    def live(
        self,
        kind: str,
        id: str,
        *,
        last_event_id: str = "",
        types: Sequence[str] = (),
        token: Callable[[], str] | None = None,
    ) -> Stream:
        """Follow the stream: from behind last_event_id ("0": from its first event; empty: what comes from now on).

        types: such as call.*, all when empty. token: returns a stream token, where the key is not to be used.
        """
        address = self._api.base_url + path("/v1/streams", kind, id, "live")
        address += f"?types={quote(','.join(types), safe='')}" if types else ""
        headers = {} if token is not None else self._api.headers
        return Stream(address, headers=headers, token=token, last_event_id=last_event_id)


class Endpoints:
    """Registered webhook URLs."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(
        self,
        url: str,
        *,
        description: str | None = None,
        event_types: Sequence[str] | None = None,
        stream_kinds: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
        rate_limit: int | None = None,
        signing: str | None = None,
        **more: Any,
    ) -> objects.EndpointWithSecret:
        """more: the other members of an endpoint, such as uid, channels, content_filter, order, metadata or enabled."""
        body = given(url=url, description=description, event_types=event_types, stream_kinds=stream_kinds)
        body |= given(headers=headers, rate_limit=rate_limit, signing=signing) | more
        return cast(objects.EndpointWithSecret, self._api.ask("POST", "/v1/endpoints", body))

    def get(self, endpoint_id: str) -> objects.Endpoint:
        return cast(objects.Endpoint, self._api.ask("GET", path("/v1/endpoints", endpoint_id)))

    def each(self) -> Iterator[objects.Endpoint]:
        return self._api.pages("/v1/endpoints")

    def change(self, endpoint_id: str, **changes: Any) -> objects.Endpoint:
        """changes: members of an endpoint, None to empty one; status "disabled" and "enabled" among them."""
        return cast(objects.Endpoint, self._api.ask("PATCH", path("/v1/endpoints", endpoint_id), changes))

    def put(self, uid: str, url: str, **members: Any) -> objects.EndpointWithSecret:
        """Make the endpoint of this uid, or change it to just this: what is left out gets its default."""
        body = {"url": url, **members}
        return cast(objects.EndpointWithSecret, self._api.ask("PUT", path("/v1/endpoints", uid), body))

    def changes(self, endpoint_id: str) -> list[objects.EndpointChange]:
        """Its states, newest first: the last hundred."""
        found = self._api.ask("GET", path("/v1/endpoints", endpoint_id, "changes"))
        return cast("list[objects.EndpointChange]", found["data"])

    def lanes(self, endpoint_id: str) -> Iterator[objects.Lane]:
        """Of an endpoint that keeps order: the streams in which something waits, with what is first in each."""
        return self._api.pages(path("/v1/endpoints", endpoint_id, "lanes"))

    def delete(self, endpoint_id: str) -> None:
        self._api.ask("DELETE", path("/v1/endpoints", endpoint_id))

    def secret(self, endpoint_id: str) -> objects.Secret:
        return cast(objects.Secret, self._api.ask("GET", path("/v1/endpoints", endpoint_id, "secret")))

    def rotate_secret(self, endpoint_id: str) -> objects.Secret:
        return cast(objects.Secret, self._api.ask("POST", path("/v1/endpoints", endpoint_id, "secret", "rotate")))

    def test(self, endpoint_id: str, *, type: str | None = None) -> objects.EventOut:
        """Send a test webhook. type: with the example that the catalogue of event types has of it."""
        body = given(type=type) or None
        return cast(objects.EventOut, self._api.ask("POST", path("/v1/endpoints", endpoint_id, "test"), body))

    def recover(self, endpoint_id: str, since: str, *, until: str | None = None) -> objects.Recovered:
        """Send again what failed or was missed since this time (RFC 3339)."""
        body = given(since=since, until=until)
        return cast(objects.Recovered, self._api.ask("POST", path("/v1/endpoints", endpoint_id, "recover"), body))

    def stats(self, endpoint_id: str) -> objects.Stats:
        return cast(objects.Stats, self._api.ask("GET", path("/v1/endpoints", endpoint_id, "stats")))


class Deliveries:
    """The delivery log."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def get(self, delivery_id: str) -> objects.DeliveryWithAttempts:
        return cast(objects.DeliveryWithAttempts, self._api.ask("GET", path("/v1/deliveries", delivery_id)))

    def each(
        self,
        *,
        status: str | None = None,
        endpoint_id: str | None = None,
        event_type: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> Iterator[objects.Delivery]:
        """Newest first. since, until: RFC 3339."""
        return self._api.pages(
            "/v1/deliveries", status=status, endpoint_id=endpoint_id, event_type=event_type, since=since, until=until
        )

    def retry(self, delivery_id: str) -> objects.DeliveryWithAttempts:
        return cast(objects.DeliveryWithAttempts, self._api.ask("POST", path("/v1/deliveries", delivery_id, "retry")))

    def skip(self, delivery_id: str) -> objects.DeliveryWithAttempts:
        """At an endpoint that keeps order: have the stream go on without this one, which arrives late."""
        return cast(objects.DeliveryWithAttempts, self._api.ask("POST", path("/v1/deliveries", delivery_id, "skip")))


class Client:
    """The API of one server, with one key. workspace: for a platform key, whom it acts for, by id or uid."""

    def __init__(
        self, base_url: str, key: str, *, workspace: str | None = None, session: requests.Session | None = None
    ) -> None:
        api = Api(base_url, key, workspace, session)
        self.workspaces = Workspaces(api)
        self.keys = Keys(api)
        self.events = Events(api)
        self.streams = Streams(api)
        self.endpoints = Endpoints(api)
        self.deliveries = Deliveries(api)
        self.feed = Feed(api)
        self.consumers = Consumers(api)
        self.event_types = EventTypes(api)
        self.bulk_retries = BulkRetries(api)
        self.portal_links = PortalLinks(api)
        self.tokens = Tokens(api)
        self._api = api

    def close(self) -> None:
        """Close its connections; a later call opens new ones."""
        self._api.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
