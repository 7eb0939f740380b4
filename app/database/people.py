"""The tables of people: who signs in or comes by a link, and what they have ordered and done."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database.mapping import Base


class User(Base):
    """A person who signs in to the console by name and password."""

    __tablename__ = "users"
    __table_args__ = (CheckConstraint("role IN ('operator', 'viewer')", name="role"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str]
    password_hash: Mapped[str]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]


class PersonSession(Base):
    """A person who signed in with a key, or with a password; the row makes the session revocable."""

    __tablename__ = "sessions"
    __table_args__ = (CheckConstraint("num_nonnulls(key_id, user_id) = 1", name="whose"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    workspace_id: Mapped[str | None]  # NULL: a platform key that signed in for none
    # A customer in the portal: they act by this link, which was made with the key.
    portal_link_id: Mapped[str | None] = mapped_column(ForeignKey("portal_links.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    revoked_at: Mapped[datetime | None]


class PortalLink(Base):
    """A link that opens the portal of one workspace, once and for a few minutes."""

    __tablename__ = "portal_links"
    __table_args__ = (Index("ix_portal_links_workspace_id_id", "workspace_id", "id"),)
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    scopes: Mapped[list[str]]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    opened_at: Mapped[datetime | None]  # since then it opens nothing any more; its session goes on
    revoked_at: Mapped[datetime | None]


class BulkRetry(Base):
    """An order to attempt again what had ended, as far as filters let it in. The row is the work: whoever has locked it
    does the next piece."""

    __tablename__ = "bulk_retries"
    __table_args__ = (
        Index("ix_bulk_retries_running", "id", postgresql_where=text("status = 'running'")),
        Index("ix_bulk_retries_workspace_id_id", "workspace_id", "id"),
        CheckConstraint("status IN ('running', 'finished', 'cancelled')", name="status"),
    )
    id: Mapped[str] = mapped_column(primary_key=True)
    workspace_id: Mapped[str | None] = mapped_column(ForeignKey("workspaces.id", ondelete="CASCADE"))  # NULL: of all
    filters: Mapped[dict[str, Any]]
    actor: Mapped[str]
    status: Mapped[str] = mapped_column(server_default=text("'running'"))
    found: Mapped[int] = mapped_column(Integer)  # deliveries that the filters let in when it was ordered
    retried: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    cursor: Mapped[str | None]  # the last delivery that was looked at
    passed_over: Mapped[bool] = mapped_column(server_default=text("false"))  # of this round: some have to wait
    resume_at: Mapped[datetime]  # no piece before
    created_at: Mapped[datetime] = mapped_column(index=True)
    finished_at: Mapped[datetime | None]


class SignInBucket(Base):
    """How many wrong sign-ins were tried of late; by names and by addresses, which share buckets by a keyed hash."""

    __tablename__ = "sign_in_buckets"
    kind: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True)
    level: Mapped[float]
    counted_at: Mapped[datetime]


class AuditEntry(Base):
    """What a person has done, and when; never changed."""

    __tablename__ = "audit_entries"
    __table_args__ = (Index("ix_audit_entries_workspace_id_id", "workspace_id", "id"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    created_at: Mapped[datetime] = mapped_column(index=True)
    user_id: Mapped[str | None]  # NULL: by the command line, or a name that nobody has
    actor: Mapped[str]  # the name as it was then
    action: Mapped[str]
    workspace_id: Mapped[str | None]
    target: Mapped[str | None]
    address: Mapped[str | None]
    details: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
