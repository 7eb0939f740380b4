"""The tables, and how they are reached."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Text, UniqueConstraint, create_engine, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, sessionmaker

POOL, OVERFLOW = 10, 10  # as the product's web processes


class Table(DeclarativeBase):
    """All of them."""


class Key(Table):
    __tablename__ = "api_keys"
    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(Text, unique=True)
    workspace: Mapped[str] = mapped_column(Text)


class Stream(Table):
    __tablename__ = "streams"
    __table_args__ = (UniqueConstraint("workspace", "kind", "name"),)
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    workspace: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    last_seq: Mapped[int] = mapped_column(BigInteger)


class Event(Table):
    __tablename__ = "events"
    __table_args__ = (UniqueConstraint("stream_id", "seq"),)
    id: Mapped[str] = mapped_column(Text, primary_key=True)
    stream_id: Mapped[int] = mapped_column(ForeignKey(Stream.id))
    seq: Mapped[int] = mapped_column(BigInteger)
    type: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    stream: Mapped[Stream] = relationship(lazy="joined")


class Endpoint(Table):
    __tablename__ = "endpoints"
    id: Mapped[int] = mapped_column(primary_key=True)
    workspace: Mapped[str] = mapped_column(Text, index=True)
    url: Mapped[str] = mapped_column(Text)
    secret: Mapped[str] = mapped_column(Text)


class Delivery(Table):
    __tablename__ = "deliveries"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    event_id: Mapped[str] = mapped_column(ForeignKey(Event.id), index=True)
    endpoint_id: Mapped[int] = mapped_column(ForeignKey(Endpoint.id))
    status: Mapped[str] = mapped_column(Text, server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    finished_at: Mapped[datetime | None]
    event: Mapped[Event] = relationship(lazy="joined")
    endpoint: Mapped[Endpoint] = relationship(lazy="joined")


class Attempt(Table):
    __tablename__ = "attempts"
    id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey(Delivery.id), index=True)
    status_code: Mapped[int | None]
    error: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())


def url() -> str:
    """DATABASE_URL as SQLAlchemy spells it."""
    return os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://", 1)


engine = create_engine(url(), pool_size=POOL, max_overflow=OVERFLOW)
Session = sessionmaker(engine, expire_on_commit=False)
