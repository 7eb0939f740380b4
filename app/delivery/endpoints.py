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
from app.core.problem import Problem, not_found
from app.core.webhook import addresses, signing
from app.core.webhook.headers import check_headers
from app.core.wire.envelope import rfc3339
from app.database.tables import Endpoint, EndpointSecret, Workspace
from app.delivery import deliveries
from app.delivery.cancelling import cancel_pending
from app.settings import Settings

ENABLED, DISABLED = "enabled", "disabled"
HMAC, ED25519 = "hmac", "ed25519"
BY_OWNER = "disabled_by_owner"  # disabled_reason when a person did it; the drain writes others
_MOST_FORMER = 8  # secrets that sign besides the newest: rotating in a loop must not grow a header without end
_PLAIN = ("description", "event_types", "stream_kinds", "rate_limit")


def create_endpoint(session: Session, settings: Settings, workspace_id: str, wanted: Mapping[str, Any]) -> Endpoint:
    """Register a URL. wanted: url, and any of description, event_types, stream_kinds, headers, rate_limit, signing.

    Raises Problem: invalid for a URL or header that could never work, too_many at the workspace's limit.
    """
    _check(settings, wanted)
    _make_room(session, settings, workspace_id)
    now = ids.truncate(datetime.now(UTC))
    row = Endpoint(
        id=ids.make(ids.ENDPOINT, now, os.urandom(ids.RANDOM_BYTES)),
        workspace_id=workspace_id,
        url=wanted["url"],
        signing=wanted.get("signing", HMAC),
        status=ENABLED,
        created_at=now,
        updated_at=now,
        consecutive_failures=0,
        sealed_headers=_seal_headers(settings, wanted.get("headers")),
        **{name: wanted[name] for name in _PLAIN if name in wanted},
    )
    session.add(row)
    session.flush()
    session.refresh(row)
    _add_secrets(session, settings, row, now)
    return row


def get_endpoint(session: Session, workspace_id: str, endpoint_id: str, *, lock: bool = False) -> Endpoint:
    """An endpoint of this workspace, locked for a change if asked. Raises Problem not_found."""
    query = select(Endpoint).where(Endpoint.id == endpoint_id, Endpoint.workspace_id == workspace_id)
    row = session.scalars(query.with_for_update() if lock else query).one_or_none()
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
    """Change what `wanted` names: url, headers (all of them at once), status and the plain fields. Raises Problem."""
    _check(settings, wanted)
    _keep_workspace(session, workspace_id)
    row = get_endpoint(session, workspace_id, endpoint_id, lock=True)
    for name in ("url", *_PLAIN):
        if name in wanted:
            setattr(row, name, wanted[name])
    if "headers" in wanted:
        row.sealed_headers = _seal_headers(settings, wanted["headers"])
    if wanted.get("status", row.status) != row.status:
        if wanted["status"] == ENABLED:
            _enable(row)
        else:
            _disable(session, row)
    row.updated_at = ids.truncate(datetime.now(UTC))
    session.flush()
    return row


def delete_endpoint(session: Session, workspace_id: str, endpoint_id: str) -> None:
    """Forget an endpoint and its secrets. What is pending is cancelled; its deliveries can still be read."""
    _keep_workspace(session, workspace_id)
    row = get_endpoint(session, workspace_id, endpoint_id, lock=True)
    cancel_pending(session.connection(), row.id, deliveries.ENDPOINT_DELETED)
    session.execute(delete(Endpoint).where(Endpoint.id == row.id))


def rotate_secret(session: Session, settings: Settings, workspace_id: str, endpoint_id: str) -> Endpoint:
    """Give an endpoint a new secret. The present one signs too until settings.secret_overlap_seconds have passed."""
    row = get_endpoint(session, workspace_id, endpoint_id, lock=True)
    now = ids.truncate(datetime.now(UTC))
    for position, secret in enumerate(_secrets(session, row.id)):
        if position >= _MOST_FORMER:
            secret.expires_at = func.now()  # the database's, by which it is judged: ours may be a moment later
        elif secret.expires_at is None:
            secret.expires_at = now + timedelta(seconds=settings.secret_overlap_seconds)
    _add_secrets(session, settings, row, now)
    row.updated_at = now
    return row


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
        "url": row.url,
        "description": row.description,
        "status": row.status,
        "disabled_reason": row.disabled_reason,
        "disabled_at": rfc3339(row.disabled_at) if row.disabled_at else None,
        "event_types": row.event_types,
        "stream_kinds": row.stream_kinds,
        "rate_limit": row.rate_limit,
        "signing": row.signing,
        "consecutive_failures": row.consecutive_failures,
        "failing_since": rfc3339(row.failing_since) if row.failing_since else None,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
    }


def header_names(settings: Settings, row: Endpoint) -> list[str]:
    """The names of an endpoint's extra headers, in the order in which they were given."""
    if row.sealed_headers is None:
        return []
    return list(json.loads(sealing.unseal(settings.secret_keys, row.sealed_headers)))


def _check(settings: Settings, wanted: Mapping[str, Any]) -> None:
    errors = []
    if "url" in wanted:
        errors += [
            {"field": "url", "detail": reason} for reason in addresses.check_url(wanted["url"], settings.allow_subnets)
        ]
    for name, reason in check_headers(wanted.get("headers") or {}):
        errors.append({"field": f"headers.{name}" if name else "headers", "detail": reason})
    if errors:
        raise Problem("invalid", "; ".join(f"{e['field']}: {e['detail']}" for e in errors), errors=errors)


def _make_room(session: Session, settings: Settings, workspace_id: str) -> None:
    # The lock keeps two that are created at once from both taking the last place.
    session.execute(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(key_share=True))
    count = session.scalar(select(func.count()).select_from(Endpoint).where(Endpoint.workspace_id == workspace_id))
    if (count or 0) >= settings.max_endpoints:
        raise Problem("too_many", f"This workspace has {count} endpoints, the most there may be; delete one.")


def _keep_workspace(session: Session, workspace_id: str) -> None:
    # Its row is written with the commit (bump_endpoints_version.sql). Whoever deletes the workspace locks that row
    # before its endpoints; in the other order, the two would wait for each other.
    session.execute(select(Workspace.id).where(Workspace.id == workspace_id).with_for_update(read=True, key_share=True))


def _seal_headers(settings: Settings, headers: Mapping[str, str] | None) -> bytes | None:
    return _sealed(settings, json.dumps(dict(headers))) if headers else None


def _sealed(settings: Settings, text: str) -> bytes:
    return sealing.seal(settings.secret_key, text.encode(), os.urandom(sealing.NONCE_BYTES))


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


def _add_secrets(session: Session, settings: Settings, row: Endpoint, now: datetime) -> None:
    """Every endpoint has an HMAC secret, which every verifier knows; one with ed25519 has a key pair besides."""
    made = [signing.new_secret(os.urandom(signing.SECRET_BYTES))]
    if row.signing == ED25519:
        made.append(signing.new_signing_key(os.urandom(32)))
    for text in made:
        session.add(EndpointSecret(endpoint_id=row.id, sealed=_sealed(settings, text), created_at=now))
    session.flush()


def _enable(row: Endpoint) -> None:
    row.status = ENABLED
    row.disabled_reason = row.disabled_at = row.failing_since = row.last_outcome = None
    row.consecutive_failures = 0


def _disable(session: Session, row: Endpoint) -> None:
    row.status, row.disabled_reason, row.disabled_at = DISABLED, BY_OWNER, ids.truncate(datetime.now(UTC))
    cancel_pending(session.connection(), row.id, deliveries.ENDPOINT_DISABLED)
