"""Sessions of people: how long one lasts, and the keys that its cookie is signed with."""

from __future__ import annotations

from app.core import sealing
from app.settings import Settings

LIFE_SECONDS = 12 * 3600  # a working day; then the person signs in again
_PURPOSE = "signing sessions"


def signing_keys(settings: Settings) -> list[bytes]:
    """The keys that session cookies may be signed with, the present one first."""
    return [sealing.derive(material, _PURPOSE) for material in settings.secret_keys]
