"""The form of an endpoint: what a person has typed as what the API takes, checked by the API's own table of fields."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.problem import Problem
from app.web.api.endpoints import OPTIONS, SIGNING, URL
from app.web.http.fields import check

_BETWEEN = re.compile(r"[\s,]+")
_NAMES = ("url", "description", "event_types", "stream_kinds", "rate_limit", "headers", "signing")


@dataclass(slots=True)
class EndpointForm:
    """typed: the form's texts by field name, to be shown again. wanted: what the API would be sent. wrong: by field
    name, what is not in order; "" for what is about no field of the form."""

    typed: dict[str, str]
    wanted: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    def blame(self, problem: Problem) -> None:
        """Put a refusal beside the fields that it is about."""
        for error in problem.errors or [{"field": "", "detail": problem.detail}]:
            name = re.split(r"[.\[]", error["field"])[0]
            self.wrong.setdefault(name if name in _NAMES else "", error["detail"])


def read_endpoint(form: Mapping[str, str], *, new: bool) -> EndpointForm:
    """What a form asks for. new: whether the endpoint is to be made; else headers that are left empty stay."""
    made = EndpointForm({name: form.get(name, "").strip() for name in _NAMES})
    typed = made.typed
    made.wanted = {
        "url": typed["url"],
        "description": typed["description"],
        "event_types": _listed(typed["event_types"]),
        "stream_kinds": _listed(typed["stream_kinds"]),
        "rate_limit": int(typed["rate_limit"]) if re.fullmatch("[0-9]{1,9}", typed["rate_limit"]) else None,
    }
    if typed["rate_limit"] and made.wanted["rate_limit"] is None:
        made.wrong["rate_limit"] = "must be a whole number, or empty for no limit"
    if new and typed["signing"]:
        made.wanted["signing"] = typed["signing"]
    if form.get("clear_headers"):
        made.wanted["headers"] = None
    elif typed["headers"]:
        made.wanted["headers"] = _headers(made)
    for one in check((URL, *OPTIONS, SIGNING), made.wanted):
        made.wrong.setdefault(re.split(r"[.\[]", one["field"])[0], one["detail"])
    return made


def _listed(text: str) -> list[str] | None:
    """Names between blanks, line ends or commas; None for none."""
    return [name for name in _BETWEEN.split(text) if name] or None


def _headers(made: EndpointForm) -> dict[str, str]:
    """One header a line, as `Name: value`."""
    headers = {}
    for line in made.typed["headers"].splitlines():
        name, colon, value = line.partition(":")
        if line.strip() and not colon:
            made.wrong["headers"] = "write one header a line, as Name: value"
        elif line.strip():
            headers[name.strip()] = value.strip()
    return headers
