"""Endpoints: registered webhook URLs, their filters, extra headers, secrets and state."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.core import ids, sealing
from app.core.problem import Problem, complaint, not_found
from app.core.webhook import signing
from app.core.wire.envelope import rfc3339
from app.database.tables import Endpoint, EndpointSecret, Workspace
from app.delivery import deliveries, endpoint_rows, endpoint_rules
from app.delivery.cancelling import cancel_at_once
from app.delivery.endpoint_rows import BY_OWNER, DISABLED, ED25519, ENABLED, HMAC, header_names, sealed
from app.settings import Settings

__all__ = [
    "BY_OWNER",
    "DISABLED",
    "ED25519",
    "ENABLED",
    "HMAC",
    "change_endpoint",
    "create_endpoint",
    "delete_endpoint",
    "find_id",
    "get_endpoint",
    "header_names",
    "list_endpoints",
    "put_endpoint",
    "read_secrets",
    "rotate_secret",
    "shown",
]

_MOST_FORMER = 8  # secrets that sign besides the newest: rotating in a loop must not grow a header without end


def create_endpoint(session: Session, settings: Settings, workspace_id: str, wanted: Mapping[str, Any]) -> Endpoint:
    """Register a URL. wanted: url, and any of the fields of app.web.api.endpoints.

    Raises Problem: invalid for what could never work, conflict for a uid that is taken, too_many at the workspace's
    limit.
    """
    endpoint_rules.check(settings, wanted)
    _lock_workspace(session, workspace_id)
    _refuse_taken(session, workspace_id, wanted.get("uid"))
    return _add(session, settings, workspace_id, wanted)


def put_endpoint(
    session: Session, settings: Settings, workspace_id: str, reference: str, wanted: Mapping[str, Any]
) -> tuple[Endpoint, bool]:
    """Make the endpoint with this uid what `wanted` says, and whether it is new. Raises Problem, not_found for an id of
    ours that is not there.

    One that exists keeps its secret, its signing and its state unless they are given: a new secret is rotated to, and
    another kind of signing is a conflict. Everything else that is left out is as for a new one.
    """
    endpoint_rules.check(settings, wanted)
    _lock_workspace(session, workspace_id)
    row = _find(session, workspace_id, reference, lock=True)
    if row is None:
        if reference.startswith(f"{ids.ENDPOINT}_"):
            raise not_found("endpoint")
        return _add(session, settings, workspace_id, {**wanted, "uid": reference}), True
    if wanted.get("signing", row.signing) != row.signing:
        raise Problem("conflict", f"The endpoint signs by {row.signing}, which cannot be changed; make another one.")
    left_out = {**endpoint_rows.PLAIN, "headers": None, "metadata": None, "content_filter": None, "batch": None}
    endpoint_rows.change(session, settings, row, left_out | dict(wanted))
    if wanted.get("secret") not in (None, read_secrets(session, settings, row)["secret"]):
        _rotate(session, settings, row, wanted["secret"])
    return row, False


def find_id(session: Session, workspace_id: str, reference: str) -> str | None:
    """The id of the endpoint with this id or uid. An id of ours is not looked up: what it names may be deleted."""
    if reference.startswith(f"{ids.ENDPOINT}_"):
        return reference
    return session.scalar(select(Endpoint.id).where(Endpoint.workspace_id == workspace_id, Endpoint.uid == reference))


def get_endpoint(session: Session, workspace_id: str, reference: str, *, lock: bool = False) -> Endpoint:
    """The endpoint of this workspace with this id or uid, locked for a change if asked. Raises Problem not_found."""
    row = _find(session, workspace_id, reference, lock=lock)
    if row is None:
        raise not_found("endpoint")
    return row


def list_endpoints(session: Session, workspace_id: str, *, limit: int, before: str | None) -> list[Endpoint]:
    """Endpoints, newest first, at most `limit`, older than the id `before`."""
    query = select(Endpoint).where(Endpoint.workspace_id == workspace_id).order_by(Endpoint.id.desc()).limit(limit)
    return list(session.scalars(query if before is None else query.where(Endpoint.id < before)))


def change_endpoint(
    session: Session, settings: Settings, workspace_id: str, endpoint_id: str, wanted: Mapping[str, Any]
) -> Endpoint:
    """Change what `wanted` names: headers, metadata and filters all of each at once. Raises Problem."""
    endpoint_rules.check(settings, wanted)
    _lock_workspace(session, workspace_id)
    row = get_endpoint(session, workspace_id, endpoint_id, lock=True)
    if wanted.get("uid") != row.uid:
        _refuse_taken(session, workspace_id, wanted.get("uid"))
    endpoint_rows.change(session, settings, row, wanted)
    row.updated_at = ids.truncate(datetime.now(UTC))  # also of one that was so already: its owner wants it so now
    session.flush()
    return row


def delete_endpoint(session: Session, workspace_id: str, endpoint_id: str) -> None:
    """Forget an endpoint and its secrets. What is pending is cancelled; its deliveries can still be read."""
    _lock_workspace(session, workspace_id)
    row = get_endpoint(session, workspace_id, endpoint_id, lock=True)
    cancel_at_once(session.connection(), row.id, deliveries.ENDPOINT_DELETED)
    session.execute(delete(Endpoint).where(Endpoint.id == row.id))


def rotate_secret(session: Session, settings: Settings, workspace_id: str, endpoint_id: str) -> Endpoint:
    """Give an endpoint a new secret. The present one signs too until settings.secret_overlap_seconds have passed."""
    row = get_endpoint(session, workspace_id, endpoint_id, lock=True)
    _rotate(session, settings, row)
    return row


def _rotate(session: Session, settings: Settings, row: Endpoint, secret: str | None = None) -> None:
    now = ids.truncate(datetime.now(UTC))
    for position, former in enumerate(_secrets(session, row.id)):
        if position >= _MOST_FORMER:
            former.expires_at = func.now()  # the database's, by which it is judged: ours may be a moment later
        elif former.expires_at is None:
            former.expires_at = now + timedelta(seconds=settings.secret_overlap_seconds)
    _add_secrets(session, settings, row, now, secret)
    row.updated_at = now


def read_secrets(session: Session, settings: Settings, row: Endpoint) -> dict[str, Any]:
    """What the owner needs to verify signatures: `secret`, for ed25519 also `public_key`, and while a rotation lasts
    the former ones with their end."""
    answer: dict[str, Any] = {"secret": None, "public_key": None, "former": []}
    for stored in _secrets(session, row.id):
        text = sealing.unseal(settings.secret_keys, stored.sealed).decode()
        name = "public_key" if text.startswith(signing.SIGNING_KEY_PREFIX) else "secret"
        shown = signing.public_key(text) if name == "public_key" else text
        if stored.expires_at is None:
            answer[name] = shown
        else:
            answer["former"].append({name: shown, "expires_at": rfc3339(stored.expires_at)})
    if answer["public_key"] is None:
        del answer["public_key"]
    return answer


def shown(row: Endpoint) -> dict[str, Any]:
    """An endpoint as the API answers it. Header values are not shown: they are often credentials."""
    return {
        "id": row.id,
        "uid": row.uid,
        "url": row.url,
        "description": row.description,
        "metadata": row.own_metadata,
        "status": row.status,
        "disabled_reason": row.disabled_reason,
        "disabled_at": rfc3339(row.disabled_at) if row.disabled_at else None,
        "event_types": row.event_types,
        "stream_kinds": row.stream_kinds,
        "channels": row.channels,
        "content_filter": None if row.content_filter is None else json.loads(row.content_filter),
        "rate_limit": row.rate_limit,
        "timeout_seconds": row.timeout_seconds,
        "retry_delays_seconds": row.retry_delays_seconds,
        "feed_cursor": row.feed_cursor,
        "order": row.order,
        "order_patience_seconds": row.order_patience_seconds,
        "batch": None
        if row.batch_max_events is None
        else {"max_events": row.batch_max_events, "max_wait_ms": row.batch_max_wait_ms},
        "signing": row.signing,
        "consecutive_failures": row.consecutive_failures,
        "failing_since": rfc3339(row.failing_since) if row.failing_since else None,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def _find(session: Session, workspace_id: str, reference: str, *, lock: bool = False) -> Endpoint | None:
    named = Endpoint.id if reference.startswith(f"{ids.ENDPOINT}_") else Endpoint.uid
    query = select(Endpoint).where(named == reference, Endpoint.workspace_id == workspace_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def _lock_workspace(session: Session, workspace_id: str) -> None:
    # Whoever changes what a workspace's endpoints want writes its row with the commit (bump_endpoints_version.sql), and
    # whoever deletes the workspace locks that row before its endpoints. Locked here first, by all, nobody waits for it
    # with an endpoint in hand. And two who are at once cannot both take the last place, or the same uid.
    session.execute(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True))


def _refuse_taken(session: Session, workspace_id: str, uid: str | None) -> None:
    if uid is not None and _find(session, workspace_id, uid) is not None:
        words = f"An endpoint with the uid {uid} exists already; read it, or replace it by PUT, at /v1/endpoints/{uid}."
        taken = complaint("uid", "is taken: another endpoint of this workspace has it")
        raise Problem("conflict", words, errors=[taken])


def _secrets(session: Session, endpoint_id: str) -> Sequence[EndpointSecret]:
    """Secrets that sign now, newest first."""
    return session.scalars(
        select(EndpointSecret)
        .where(
            EndpointSecret.endpoint_id == endpoint_id,
            EndpointSecret.expires_at.is_(None) | (EndpointSecret.expires_at > func.now()),
        )
        .order_by(EndpointSecret.id.desc())
    ).all()


def _add(session: Session, settings: Settings, workspace_id: str, wanted: Mapping[str, Any]) -> Endpoint:
    row = endpoint_rows.add(session, settings, workspace_id, wanted)
    _add_secrets(session, settings, row, row.created_at, wanted.get("secret"))
    return row


def _add_secrets(session: Session, settings: Settings, row: Endpoint, now: datetime, secret: str | None = None) -> None:
    """Every endpoint has an HMAC secret, which every verifier knows; one with ed25519 has a key pair besides. secret:
    the owner's own, else one is made."""
    made = [secret or signing.new_secret(os.urandom(signing.SECRET_BYTES))]
    if row.signing == ED25519:
        made.append(signing.new_signing_key(os.urandom(32)))
    for text in made:
        session.add(EndpointSecret(endpoint_id=row.id, sealed=sealed(settings, text), created_at=now))
    session.flush()
