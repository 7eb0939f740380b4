"""Further nouns of the HTTP API: event types, bulk retries, portal links, tokens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from . import objects
from .calls import Api, given, path


class EventTypes:
    """What a workspace says of its event types, beside those that the server knows."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def put(
        self,
        type: str,
        *,
        description: str | None = None,
        schema: Mapping[str, Any] | None = None,
        example: Mapping[str, Any] | None = None,
        check: str | None = None,
        deprecated: bool | None = None,
    ) -> objects.EventType:
        """check: "warn" counts events that do not fit the JSON Schema, "reject" refuses them."""
        body = given(description=description, schema=schema, example=example, check=check, deprecated=deprecated)
        return cast(objects.EventType, self._api.ask("PUT", path("/v1/event-types", type), body))

    def get(self, type: str) -> objects.EventType:
        return cast(objects.EventType, self._api.ask("GET", path("/v1/event-types", type)))

    def each(self) -> Iterator[objects.EventType]:
        return self._api.pages("/v1/event-types")

    def delete(self, type: str) -> None:
        self._api.ask("DELETE", path("/v1/event-types", type))


class BulkRetries:
    """Everything that failed or was cancelled, attempted again. Filters: endpoint_id, event_type, status ("failed",
    "cancelled", or "missed" for what one endpoint was never sent), since, until (RFC 3339)."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def count(self, **filters: str) -> objects.BulkCount:
        """What a bulk retry would attempt again; it changes nothing."""
        return cast(objects.BulkCount, self._api.ask("GET", "/v1/bulk-retries/count", **filters))

    def create(self, **filters: str) -> objects.BulkRetry:
        return cast(objects.BulkRetry, self._api.ask("POST", "/v1/bulk-retries", filters))

    def get(self, bulk_retry_id: str) -> objects.BulkRetry:
        return cast(objects.BulkRetry, self._api.ask("GET", path("/v1/bulk-retries", bulk_retry_id)))

    def each(self) -> Iterator[objects.BulkRetry]:
        return self._api.pages("/v1/bulk-retries")

    def cancel(self, bulk_retry_id: str) -> objects.BulkRetry:
        return cast(objects.BulkRetry, self._api.ask("POST", path("/v1/bulk-retries", bulk_retry_id, "cancel")))


class PortalLinks:
    """Links that open the customer portal once."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def create(self, scopes: Sequence[str] | None = None) -> objects.CreatedPortalLink:
        """scopes: of manage, operate and subscribe; what the customer may do there."""
        return cast(objects.CreatedPortalLink, self._api.ask("POST", "/v1/portal-links", given(scopes=scopes)))

    def each(self) -> Iterator[objects.PortalLink]:
        return self._api.pages("/v1/portal-links")

    def revoke(self, link_id: str) -> None:
        self._api.ask("DELETE", path("/v1/portal-links", link_id))


class Tokens:
    """Stream tokens that somebody else presents."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def verify(self, token: str) -> objects.VerifiedToken:
        """Whether the token may be used now, and what it opens."""
        return cast(objects.VerifiedToken, self._api.ask("POST", "/v1/tokens/verify", {"token": token}))
