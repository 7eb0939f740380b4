"""Stream tokens in their signed form: made here, read by the live routes with the same keys."""

from __future__ import annotations

from app.core import sealing, tokens
from app.models import StreamToken
from app.settings import Settings
from app.streams import Found

_PURPOSE = "signing stream tokens"


def signing_keys(settings: Settings) -> list[bytes]:
    """The keys that tokens may be signed with, the present one first."""
    return [sealing.derive(material, _PURPOSE) for material in settings.secret_keys]


def signed(settings: Settings, row: StreamToken, found: Found) -> str:
    """The text of a token."""
    claims = tokens.Claims(row.id, found.kind, found.external_id, int(row.expires_at.timestamp()))
    return tokens.encode(signing_keys(settings)[0], claims, int(row.created_at.timestamp()))
