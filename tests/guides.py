"""What the guides of /docs tell readers to type: their code blocks, and webhooks to try them with."""

from __future__ import annotations

import re

from app.core.webhook.signing import sign
from app.web.docs import library

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"


def fenced(text: str) -> list[tuple[str, str]]:
    """All code blocks of a page, in order: how each is marked, and what is in it."""
    return re.findall(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE)


def blocks(guide: str, language: str) -> list[str]:
    """The code blocks of a guide that are marked with this language, in order."""
    return [body for mark, body in fenced(library.guide(guide)) if mark == language]


def code(guide: str, language: str) -> str:
    """The only such block."""
    (found,) = blocks(guide, language)
    return found


def signed(body: bytes, sent_at: int) -> tuple[str, dict[str, str]]:
    """A secret, and the headers of a webhook that its holder has sent. sent_at: Unix seconds."""
    signatures = f"v1,AAAA {sign([SECRET], _ID, sent_at, body)}"  # as during a rotation: one that does not fit
    return SECRET, {"webhook-id": _ID, "webhook-timestamp": str(sent_at), "webhook-signature": signatures}
