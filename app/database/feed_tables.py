"""Further tables: what the feed is read by, who may follow it live, and whose place in it is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.mapping import Snapshot, Xid8
from app.database.tables import Base


class Epoch(Base):
    """A history of the log: of one server, or a line of servers that took over from each other without a loss."""

    __tablename__ = "epochs"
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    server: Mapped[str]  # system identifier and timeline
    last_tick: Mapped[int] = mapped_column(BigInteger)  # of the history before, which ended there; 0 for the first
    last_no: Mapped[int] = mapped_column(BigInteger)
    first_xid: Mapped[str | None] = mapped_column(Xid8)  # no transaction before has stored an event of it
    created_at: Mapped[datetime]


class Tick(Base):
    """A moment of the log: which transactions had ended. What lies between two of them is a page of the feed."""

    __tablename__ = "ticks"
    __table_args__ = (Index("ix_ticks_no_id", "no", "id"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer)
    mark: Mapped[int] = mapped_column(BigInteger)  # random: tells it from one of the same number that was lost
    no: Mapped[int] = mapped_column(BigInteger)  # the highest that an event had been given
    snapshot: Mapped[str] = mapped_column(Snapshot)
    created_at: Mapped[datetime] = mapped_column(index=True)


class FeedToken(Base):
    """A short-lived credential for the live feed of some streams, or kinds of streams, of a workspace. NULL: of all."""

    __tablename__ = "feed_tokens"
    __table_args__ = (Index("ix_feed_tokens_workspace_id_id", "workspace_id", "id"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    streams: Mapped[list[str] | None]
    kinds: Mapped[list[str] | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class FeedConsumer(Base):
    """A reader of the feed whose place is kept here, and who reads at the moment."""

    __tablename__ = "feed_consumers"
    __table_args__ = (
        CheckConstraint("(leased_until IS NULL) = (lease IS NULL)", name="lease"),
        {"postgresql_with": {"fillfactor": 50}},  # each read and each commit writes it, and no index
    )
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    filters: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))  # names -> lists, or a text
    cursor: Mapped[str]
    after_tick: Mapped[int] = mapped_column(BigInteger)  # of the cursor
    lease: Mapped[str | None]
    leased_until: Mapped[datetime | None]
    page: Mapped[str | None]  # the cursor behind what was read with the lease
    committed: Mapped[str | None]  # the lease that was committed last
    created_at: Mapped[datetime]
    read_at: Mapped[datetime | None]
    committed_at: Mapped[datetime | None]
