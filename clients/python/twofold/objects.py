"""What the server answers, as types. An answer may have more members than are named here."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypedDict, TypeVar

T = TypeVar("T")


class StreamName(TypedDict):
    kind: str
    id: str


class _Noted(TypedDict, total=False):
    metadata: dict[str, Any]
    traceparent: str


class Event(_Noted):
    """The envelope, as webhooks and streams carry it."""

    id: str
    type: str
    timestamp: str
    workspace_id: str
    stream: StreamName
    seq: int
    data: dict[str, Any]


class EventOut(TypedDict):
    """An event that is stored. duplicate: it was already, by its idempotency key."""

    id: str
    seq: int
    stream: StreamName
    type: str
    occurred_at: str
    created_at: str
    duplicate: bool


class StreamInfo(TypedDict):
    kind: str
    id: str
    status: Literal["open", "ended"]
    attributes: dict[str, Any]
    last_seq: int
    created_at: str
    ended_at: str | None


class Token(TypedDict):
    """A short-lived key to one stream. url: of the live stream."""

    id: str
    url: str
    token: str
    expires_at: str


class TokenInfo(TypedDict):
    id: str
    key_id: str
    created_at: str
    expires_at: str


class Workspace(TypedDict):
    id: str
    uid: str
    name: str
    created_at: str


class Key(TypedDict):
    id: str
    name: str
    prefix: str
    scopes: list[str]
    created_at: str


class CreatedKey(Key):
    """key: the secret, shown only now."""

    key: str


class Endpoint(TypedDict):
    id: str
    uid: str | None
    url: str
    description: str
    metadata: dict[str, str]
    status: Literal["enabled", "disabled"]
    disabled_reason: str | None
    disabled_at: str | None
    event_types: list[str] | None
    stream_kinds: list[str] | None
    channels: list[str] | None
    content_filter: dict[str, Any] | None
    header_names: list[str]
    rate_limit: int | None
    timeout_seconds: int | None
    retry_delays_seconds: list[int] | None
    feed_cursor: bool
    order: Literal["stream"] | None
    order_patience_seconds: int | None
    batch: dict[str, int] | None
    signing: Literal["hmac", "ed25519"]
    consecutive_failures: int
    failing_since: str | None
    created_at: str
    updated_at: str


class _SecretOptional(TypedDict, total=False):
    public_key: str


class Secret(_SecretOptional):
    """What verifies an endpoint's webhooks. former: rotated secrets, which sign as well until they expire."""

    secret: str
    former: list[dict[str, str]]


class EndpointWithSecret(Endpoint, Secret):
    """A new endpoint."""


class Recovered(TypedDict):
    """complete False: there is more, ask again."""

    retried: int
    missed: int
    complete: bool


class Stats(TypedDict):
    hours: int
    deliveries: dict[str, int]
    success_rate: float | None
    attempts: int
    duration_ms: dict[str, int | None]
    pending: int
    oldest_pending_at: str | None


class Timing(TypedDict):
    """Where the time of an attempt went, milliseconds; None for a part that was not needed or not reached."""

    dns: int | None
    connect: int | None
    tls: int | None
    first_byte: int | None
    total: int


class Attempt(TypedDict):
    """batch_id, batch_size, batch_position: of the request in which it went out with others; None when by itself."""

    id: str
    number: int
    started_at: str
    duration_ms: int
    outcome: str
    error: str | None
    status_code: int | None
    remote_address: str | None
    trigger: Literal["schedule", "manual", "recover", "test"]
    timing_ms: Timing | None
    connection_reused: bool | None
    batch_id: str | None
    batch_size: int | None
    batch_position: int | None
    response_headers: dict[str, Any] | None
    response_body: str | None
    response_body_truncated: bool


class Delivery(TypedDict):
    id: str
    event_id: str
    endpoint_id: str
    event_type: str
    status: Literal["pending", "delivered", "failed", "cancelled"]
    reason: str | None
    attempt_count: int
    created_at: str
    next_attempt_at: str | None
    deadline_at: str
    finished_at: str | None


class DeliveryWithAttempts(Delivery):
    attempts: list[Attempt]


class Explanation(TypedDict):
    """Why an event has reached an endpoint, or has not. endpoint, delivery: None where there is none."""

    endpoint_id: str
    code: str
    sentence: str
    endpoint: dict[str, Any] | None
    delivery: Delivery | None


class EndpointChange(TypedDict):
    changed_at: str
    state: Literal["enabled", "disabled", "failing", "recovered"]
    reason: str | None


class LaneHead(TypedDict):
    """The delivery that is first. next_attempt_at None: now. blocked_seconds: how long it has held up its stream."""

    delivery_id: str
    event_id: str
    seq: int
    since: str
    sending: bool
    attempt_count: int
    reason: str | None
    next_attempt_at: str | None
    blocked_seconds: int


class Lane(TypedDict):
    """A stream in which something waits. behind: how many deliveries wait behind the first."""

    stream: StreamName
    head: LaneHead
    behind: int


class FeedEntry(TypedDict):
    cursor: str
    event: Event


class FeedPage(TypedDict):
    """cursor: where to go on, also when there is no event. more: there may be more at once."""

    data: list[FeedEntry]
    cursor: str
    more: bool


class FeedToken(TypedDict):
    """A short-lived key to the live feed of these streams, or kinds. url: of the live feed."""

    id: str
    url: str
    token: str
    expires_at: str
    streams: list[str] | None
    kinds: list[str] | None


class FeedTokenInfo(TypedDict):
    id: str
    key_id: str
    streams: list[str] | None
    kinds: list[str] | None
    created_at: str
    expires_at: str


class FeedPlace(TypedDict):
    """Where a consumer is."""

    name: str
    cursor: str
    committed_at: str | None


class Lag(TypedDict):
    """events: behind its place, before its filters; at_least: there may be more; seconds: since the first of them."""

    events: int
    at_least: bool
    seconds: float


class FeedConsumer(FeedPlace):
    """leased_until: until then somebody reads."""

    streams: list[str] | None
    kinds: list[str] | None
    types: list[str] | None
    content_filter: dict[str, Any] | None
    leased_until: str | None
    lag: Lag
    created_at: str
    read_at: str | None


class FeedLease(FeedPage):
    """A page of a consumer. Without events there is no lease."""

    lease: str | None
    leased_until: str | None


class EventType(TypedDict):
    type: str
    source: str
    kind: str | None
    description: str
    schema: dict[str, Any] | None
    example: dict[str, Any] | None
    check: Literal["warn", "reject"]
    deprecated: bool
    created_at: str | None
    updated_at: str | None


class BulkCount(TypedDict):
    count: int
    skipped: int
    endpoints: int
    more: bool


class BulkRetry(TypedDict):
    id: str
    status: str
    filters: dict[str, str]
    count: int
    retried: int
    created_at: str
    finished_at: str | None


class PortalLink(TypedDict):
    id: str
    scopes: list[str]
    created_at: str
    expires_at: str
    opened_at: str | None


class CreatedPortalLink(TypedDict):
    """url: holds the token, shown only now."""

    id: str
    url: str
    scopes: list[str]
    created_at: str
    expires_at: str


class _Opens(TypedDict, total=False):
    scope: str
    expires_at: str
    exp: int
    workspace_id: str


class VerifiedToken(_Opens):
    """active False: there is no other member."""

    active: bool


class Page(TypedDict, Generic[T]):
    """One page of a list. next_cursor: where the next begins, None on the last."""

    data: list[T]
    next_cursor: str | None
