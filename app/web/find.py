"""The stream that a contract route is asked for."""

from __future__ import annotations

import re

from app import streams
from app.core import drafts
from app.core.contract import Contract, Route
from app.core.problem import not_found
from app.streams import Found
from app.web.contract_errors import Refused
from app.web.credentials import Opener
from app.web.parts import Parts


def find(joined: Parts, declared: Contract, route: Route, who: Opener, kind: str, stream_id: str) -> Found:
    """The stream that is asked for, in the caller's workspace. Raises Problem."""
    if not stream_id:
        raise Refused("missing_id", f"The {route.id_in} parameter {route.id_name} is missing.")
    pattern = declared.id_patterns.get(kind)
    if not drafts.EXTERNAL_ID.fullmatch(stream_id) or (pattern and not re.fullmatch(pattern, stream_id)):
        raise Refused("invalid_id", f"{route.id_name} does not have the form of an id of a {kind}.")
    if not drafts.KIND.fullmatch(kind):
        raise Refused("invalid_id", "The kind is a small letter, then small letters, digits and _ . - (at most 64).")
    who.check_stream(kind, stream_id)
    with joined.database.begin() as connection:
        found = streams.find(connection, who.workspace_id, kind, stream_id)
    if found is None:
        raise not_found("stream")
    return found
