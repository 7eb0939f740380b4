"""The tables. Their rows are read and written by accounts, ledger, live and delivery, not here.

`events`, `deliveries` and `attempts` grow without end, so they are range partitions by week on `created_at`:
retention drops a partition instead of deleting rows. Their ids carry `created_at` (see core.ids), so a look-up by
id prunes to one partition. A unique index on a partitioned table must contain the partition key, hence the
two-column primary keys; `seq` is unique by the stream's row lock and idempotency by the small `event_keys`.
There are no foreign keys into or out of partitioned tables: they would stop a partition from being dropped.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ARRAY, BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, Sequence, text
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.orm import Mapped, mapped_column

from app.core.webhook.batches import PARKED_AT
from app.database import people  # noqa: F401 - its tables are of the same metadata
from app.database.mapping import Base as Base
from app.database.mapping import Xid8

PARTITIONED = ("events", "deliveries", "attempts")

EVENT_NUMBERS = Sequence("event_numbers", metadata=Base.metadata)


class Workspace(Base):
    """A customer. `uid` is the platform's own name for it."""

    __tablename__ = "workspaces"
    id: Mapped[str] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    created_at: Mapped[datetime]
    # Counts the changes of what its endpoints want (a trigger does): who remembers that compares.
    endpoints_version: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    keeps_order: Mapped[bool] = mapped_column(server_default=text("false"))  # whether any of its endpoints does


class ApiKey(Base):
    """A key, stored as its SHA-256 (it is 256 random bits, so nothing slower is needed)."""

    __tablename__ = "api_keys"
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str | None] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    prefix: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class Stream(Base):
    """One live subject. `last_seq` is the counter that every event takes its seq from, under this row's lock."""

    __tablename__ = "streams"
    __table_args__ = (
        Index("uq_streams_subject", "workspace_id", "kind", "external_id", unique=True),
        Index("ix_streams_open", "workspace_id", postgresql_where=text("ended_at IS NULL")),
        Index("ix_streams_list", "workspace_id", "id"),
        Index("ix_streams_external_id", "external_id"),
        {"postgresql_with": {"fillfactor": 70}},  # last_seq changes with every batch: leave room for HOT updates
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    kind: Mapped[str]
    external_id: Mapped[str]
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    last_seq: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    late_came: Mapped[bool] = mapped_column(server_default=text("false"))  # an event that may follow the end has come


class StreamToken(Base):
    """A short-lived credential for one stream; the row makes it listable and revocable."""

    __tablename__ = "stream_tokens"
    id: Mapped[str] = mapped_column(primary_key=True)
    stream_id: Mapped[int] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), index=True)
    workspace_id: Mapped[str]
    key_id: Mapped[str]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class Event(Base):
    """An immutable fact. `body` is the canonical envelope, byte for byte what webhooks and streams carry."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_stream_id_seq", "stream_id", "seq"),
        Index("ix_events_workspace_id_id", "workspace_id", "id"),
        Index("ix_events_workspace_id_xid", "workspace_id", "xid", postgresql_where=text("xid IS NOT NULL")),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    workspace_id: Mapped[str]
    stream_id: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str]
    occurred_at: Mapped[datetime]
    body: Mapped[bytes]
    channels: Mapped[list[str] | None]  # NULL: none
    # The transaction that stored it, and its number in the order of storing; NULL for what is older than the feed.
    xid: Mapped[str | None] = mapped_column(Xid8, server_default=text("pg_current_xact_id()"))
    no: Mapped[int | None] = mapped_column(BigInteger, EVENT_NUMBERS, server_default=EVENT_NUMBERS.next_value())


class EventKey(Base):
    """An idempotency key of a stream and the event that used it; kept 7 days."""

    __tablename__ = "event_keys"
    stream_id: Mapped[int] = mapped_column(ForeignKey("streams.id", ondelete="CASCADE"), primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)
    digest: Mapped[bytes | None]  # of what was posted under the key; NULL for what is older than this column


class IdempotentRequest(Base):
    """The answer to a POST with an Idempotency-Key, for its repeats; sealed, because it may hold a secret."""

    __tablename__ = "idempotent_requests"
    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    status: Mapped[int]
    sealed_body: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Endpoint(Base):
    """A registered webhook URL with its filters, secrets and state."""

    __tablename__ = "endpoints"
    __table_args__ = (
        Index("ix_endpoints_workspace_id_id", "workspace_id", "id"),
        CheckConstraint("rate_limit >= 1", name="rate_limit"),
        CheckConstraint("ordering = 'stream'", name="ordering"),
        CheckConstraint(
            "(batch_max_events IS NULL) = (batch_max_wait_ms IS NULL)"
            " AND batch_max_events BETWEEN 1 AND 1000 AND batch_max_wait_ms BETWEEN 0 AND 60000",
            name="batch",
        ),
        # In PostgreSQL's order NaN is greater than any number.
        CheckConstraint("rate_tat > '-Infinity' AND rate_tat < 'Infinity'", name="rate_tat"),
        Index("ix_endpoints_failing_since", "failing_since", postgresql_where=text("failing_since IS NOT NULL")),
        Index("uq_endpoints_workspace_id_uid", "workspace_id", "uid", unique=True),
        Index("ix_endpoints_disabled", "id", postgresql_where=text("status = 'disabled'")),
        {"postgresql_with": {"fillfactor": 70}},  # health columns change with every batch of outcomes
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    url: Mapped[str]
    description: Mapped[str] = mapped_column(server_default=text("''"))
    event_types: Mapped[list[str] | None]  # NULL: every type; "call.*" is a prefix
    stream_kinds: Mapped[list[str] | None]  # NULL: every kind
    sealed_headers: Mapped[bytes | None]  # customers put credentials into headers
    rate_limit: Mapped[int | None] = mapped_column(Integer)  # attempts per second
    signing: Mapped[str] = mapped_column(server_default=text("'hmac'"))
    status: Mapped[str] = mapped_column(server_default=text("'enabled'"))
    disabled_reason: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    # Health, written by the drain: how the endpoint has answered. It decides its lane, and when it is disabled.
    consecutive_failures: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    failing_since: Mapped[datetime | None]
    last_outcome: Mapped[str | None]
    rate_tat: Mapped[float | None]  # theoretical arrival time of the rate limit (GCRA), Unix seconds
    uid: Mapped[str | None]  # the caller's own name for it
    # `metadata` is a word of SQLAlchemy's.
    own_metadata: Mapped[dict[str, Any]] = mapped_column("metadata", server_default=text("'{}'::jsonb"))
    timeout_seconds: Mapped[int | None] = mapped_column(Integer)  # NULL: the setting's
    retry_delays_seconds: Mapped[list[int] | None] = mapped_column(ARRAY(Integer))  # NULL: the setting's
    channels: Mapped[list[str] | None]  # NULL: every event, with or without channels
    # Whether its webhooks carry a cursor of the feed.
    feed_cursor: Mapped[bool] = mapped_column(server_default=text("false"))
    content_filter: Mapped[str | None]  # JSON as text: jsonb would spell large numbers in another way
    # "stream": the deliveries of each stream go out one after the other. `order` is a word of SQL's.
    order: Mapped[str | None] = mapped_column("ordering")
    order_patience_seconds: Mapped[int | None] = mapped_column(Integer)  # NULL: ORDER_PATIENCE_SECONDS
    ordered_at: Mapped[datetime | None]  # since when it keeps order
    # How many events at most travel in one request, and how long one waits for others; NULL: each travels by itself.
    batch_max_events: Mapped[int | None] = mapped_column(Integer)
    batch_max_wait_ms: Mapped[int | None] = mapped_column(Integer)


class EndpointChange(Base):
    """A change of an endpoint's state, noted by a trigger: what it became, and when. The last hundred are kept."""

    __tablename__ = "endpoint_changes"
    __table_args__ = (Index("ix_endpoint_changes_endpoint_id_id", "endpoint_id", "id"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"))
    changed_at: Mapped[datetime]
    state: Mapped[str]  # enabled, disabled, failing or recovered
    reason: Mapped[str | None]


class EndpointSecret(Base):
    """A sealed signing secret. The newest signs first; a rotated one also signs until `expires_at`."""

    __tablename__ = "endpoint_secrets"
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("endpoints.id", ondelete="CASCADE"), index=True)
    sealed: Mapped[bytes]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]


class Delivery(Base):
    """The intention to bring one event to one endpoint. While it is pending it has a row in `due`."""

    __tablename__ = "deliveries"
    __table_args__ = (
        Index("ix_deliveries_workspace_id_id", "workspace_id", "id"),
        Index(  # few rows among many: the list of what went wrong must not read through what went well
            "ix_deliveries_not_delivered",
            "workspace_id",
            "id",
            postgresql_where=text("status IN ('failed', 'cancelled')"),
        ),
        Index(  # the same over all workspaces
            "ix_deliveries_all_not_delivered", "id", postgresql_where=text("status IN ('failed', 'cancelled')")
        ),
        Index("ix_deliveries_endpoint_id_id", "endpoint_id", "id"),
        Index("ix_deliveries_event_id", "event_id"),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    workspace_id: Mapped[str]
    endpoint_id: Mapped[str]
    event_id: Mapped[str]
    event_created_at: Mapped[datetime]
    event_type: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=text("'pending'"))
    reason: Mapped[str | None]
    trigger: Mapped[str] = mapped_column(server_default=text("'schedule'"))  # of the attempts to come
    window_started_at: Mapped[datetime]  # the schedule counts from here: created_at, or the last retry or recover
    deadline_at: Mapped[datetime]
    attempt_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    window_attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))  # since window_started_at
    finished_at: Mapped[datetime | None]


# Times that a row of `due` may have: what a claim answers has to become a datetime.
EARLIEST, LATEST = "1970-01-01 00:00:00+00", "9999-01-01 00:00:00+00"
# The due_at of a row that is put away because it is not the first of its lane. No claim comes across it.
PARKED = str(PARKED_AT)


class Due(Base):
    """What is to be sent, and when: one row for each pending delivery, and none for any other. The queue.

    Apart from the deliveries, which stay for months, so that a claim reads past nothing that has ended. A row holds all
    that a claim and the decision after the attempt need; what `deliveries` has, too, is the same in both. Whoever makes
    or ends a pending delivery does so in both tables in one transaction, and locks the delivery first.
    """

    __tablename__ = "due"
    __table_args__ = (
        Index("ix_due_due_at", "due_at"),
        Index("ix_due_endpoint_due_at", "endpoint_id", "due_at"),
        Index("ix_due_lane", "endpoint_id", "stream_id", "seq", postgresql_where=text("stream_id IS NOT NULL")),
        Index(  # lanes that may stand still: their first rows were attempted, maybe with more in a batch
            "ix_due_blocked",
            "endpoint_id",
            "counted_at",
            postgresql_where=text("stream_id IS NOT NULL AND attempt_count > 0"),
        ),
        CheckConstraint("due_is_sound(due.*)", name="sound"),  # functions/due_is_sound.sql: EARLIEST, LATEST, counts
        {
            # Half of each page is left for the lease, which is then written without touching an index. Rows live for
            # milliseconds, so dead ones are swept by their number and not by their share.
            "postgresql_with": {
                "fillfactor": 50,
                "autovacuum_vacuum_scale_factor": 0,
                "autovacuum_vacuum_threshold": 2000,
                "autovacuum_vacuum_cost_delay": 0,
                "vacuum_truncate": "off",  # it would lock the whole table, which is soon full again
            }
        },
    )
    delivery_id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]  # of the delivery: names its partition
    workspace_id: Mapped[str]
    endpoint_id: Mapped[str]
    event_id: Mapped[str]
    event_created_at: Mapped[datetime]
    trigger: Mapped[str] = mapped_column(server_default=text("'schedule'"))
    due_at: Mapped[datetime]
    leased_until: Mapped[datetime | None]  # until then whoever has the token sends it, and nobody else
    lease_token: Mapped[str | None] = mapped_column(UUID(as_uuid=False))
    claims: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    attempt_count: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    window_started_at: Mapped[datetime]
    window_attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    deadline_at: Mapped[datetime]
    # The lane in which it waits: its endpoint and this stream. NULL where no order is kept; of one that was set aside
    # only seq and prev_seq are left. prev_seq: of the lane's delivery before it, NULL when none is known.
    stream_id: Mapped[int | None] = mapped_column(BigInteger)
    seq: Mapped[int | None] = mapped_column(BigInteger)
    prev_seq: Mapped[int | None] = mapped_column(BigInteger)
    # For how long it has stood at the head of its lane while the endpoint answered others, and when that was counted.
    waited_seconds: Mapped[float | None]
    counted_at: Mapped[datetime | None]
    # How many may be in a batch with it, because it was refused in a larger one; NULL: as many as its endpoint says.
    batch_most: Mapped[int | None] = mapped_column(Integer)


class Attempt(Base):
    """One HTTP exchange of a delivery; never changed."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("ix_attempts_delivery_id", "delivery_id"),
        Index("ix_attempts_endpoint_id_id", "endpoint_id", "id"),
        # Only what went wrong, which is little: an attempt that succeeded is not written to these.
        Index("ix_attempts_unsuccessful", "outcome", "id", postgresql_where=text("outcome <> 'success'")),
        Index(
            "ix_attempts_refused", text("(status_code / 100)"), "id", postgresql_where=text("outcome = 'http_error'")
        ),
        {"postgresql_partition_by": "RANGE (created_at)"},
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(primary_key=True)
    workspace_id: Mapped[str]
    endpoint_id: Mapped[str]
    delivery_id: Mapped[str]
    number: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[datetime]
    duration_ms: Mapped[int] = mapped_column(Integer)
    outcome: Mapped[str]
    error: Mapped[str | None]
    status_code: Mapped[int | None] = mapped_column(Integer)
    remote_address: Mapped[str | None]
    response_headers: Mapped[dict[str, Any] | None]
    response_body: Mapped[bytes | None]
    trigger: Mapped[str]
    # Where the time went; NULL for a part that there was none of. All NULL: older than these columns, or not sent.
    dns_ms: Mapped[int | None] = mapped_column(Integer)
    connect_ms: Mapped[int | None] = mapped_column(Integer)
    tls_ms: Mapped[int | None] = mapped_column(Integer)
    first_byte_ms: Mapped[int | None] = mapped_column(Integer)
    connection_reused: Mapped[bool | None]
    # The request that it shared with others, how many events that had, and the place of its own, from 1. NULL: alone.
    batch_id: Mapped[str | None]
    batch_size: Mapped[int | None] = mapped_column(Integer)
    batch_position: Mapped[int | None] = mapped_column(Integer)


class DrainRound(Base):
    """When a drain last looked for something to deliver: one row for the pools of all workers, one for standbys.

    low_water, all_seconds: for drains and pulses that begin (app/delivery/low_water.py); NULL before the first.
    """

    __tablename__ = "drain_rounds"
    crew: Mapped[str] = mapped_column(primary_key=True)
    stamped_at: Mapped[datetime]
    low_water: Mapped[datetime | None]
    all_seconds: Mapped[float | None]
