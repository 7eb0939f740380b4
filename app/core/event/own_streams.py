"""A workspace's own streams: they take the events that name no stream, and what Twofold itself has to tell.

Eight for events, so that a producer of many does not wait for one row's lock, and `operations` apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from app.core.event.drafts import Draft
from app.core.event.names import OWN_KIND

OPERATIONS = "operations"


def operational(type: str, data: Mapping[str, Any], key: str | None = None) -> Draft:
    """What Twofold tells a workspace's owner, such as endpoint.disabled, as an event of `operations`.

    data: a JSON object. key: an idempotency key, for what several processes may tell.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Draft(OWN_KIND, OPERATIONS, type, text, data, None, key)
