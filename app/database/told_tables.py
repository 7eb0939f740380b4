"""Further tables: what workspaces say of their events, and what they have been told of their endpoints."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.tables import Base


class EventType(Base):
    """A type of events that a workspace has declared. A change counts its workspace's endpoints_version up, by which
    processes know the schemas that they remember. schema and example are JSON as text: they are read as a whole."""

    __tablename__ = "event_types"
    __table_args__ = (CheckConstraint("\"check\" IN ('warn', 'reject')", name="check"),)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True)
    type: Mapped[str] = mapped_column(primary_key=True)
    description: Mapped[str] = mapped_column(server_default=text("''"))
    schema: Mapped[str | None]
    example: Mapped[str | None]
    check: Mapped[str] = mapped_column(server_default=text("'warn'"))
    deprecated: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class EndpointNotice(Base):
    """What of an endpoint has been told its owner, and which deliveries that were given up are still to be told of. No
    foreign key: its lock on the endpoint would have a drain wait for whoever changes that."""

    __tablename__ = "endpoint_notices"
    __table_args__ = (
        Index(
            "ix_endpoint_notices_open",
            "endpoint_id",
            postgresql_where=text("told <> 'ok' OR exhausted > 0 OR skipped > 0"),
        ),
    )
    endpoint_id: Mapped[str] = mapped_column(primary_key=True)
    told: Mapped[str] = mapped_column(server_default=text("'ok'"))
    told_at: Mapped[datetime | None]
    exhausted: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    exhausted_ids: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    exhausted_since: Mapped[datetime | None]
    exhausted_told_at: Mapped[datetime | None]
    # The same for deliveries that their lanes went on without.
    skipped: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    skipped_ids: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    skipped_since: Mapped[datetime | None]
    skipped_told_at: Mapped[datetime | None]
