"""The form of an endpoint, in the console and in the portal: what a person has typed as what the API takes, and back.

The API's own table of fields checks it, so a refusal says the same here and there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row

from app.core.problem import Problem
from app.core.webhook import batches, lanes
from app.delivery import endpoint_rules
from app.settings import Settings
from app.web.api.endpoints import ENABLED, OPTIONS, SECRET, SIGNING, UID, URL
from app.web.http.fields import check
from app.web.http.reading import read_object

MOST_BYTES = 256 * 1024  # fifty long texts of metadata, each letter of which may be sent as twelve bytes
_BETWEEN = re.compile(r"[\s,]+")
_LINES = re.compile(r"[\r\n,]+")
_WHOLE = re.compile("[0-9]{1,9}")
_TEXTS = ("event_types", "stream_kinds", "channels")
_NUMBERS = ("rate_limit", "timeout_seconds", "order_patience_seconds")
_LATER = ("order", "order_patience_seconds", "batch", "feed_cursor")
_NEW_ONLY = ("signing", "secret", "enabled")
NAMES = (
    "url", "uid", "description", *_TEXTS, "content_filter", "headers", "rate_limit", "timeout_seconds",
    "retry_delays_seconds", "order", "order_patience_seconds", "batch",
    "batch_max_events", "batch_max_wait_ms", "feed_cursor", "metadata", *_NEW_ONLY,
)  # fmt: skip
_BATCH = ("max_events", "max_wait_ms")
_OWN_FIELDS = {f"batch.{name}": f"batch_{name}" for name in _BATCH}  # of members of the API's that have fields here
BATCH_DEFAULTS = {"max_events": batches.MAX_EVENTS, "max_wait_ms": batches.MAX_WAIT_MS}
_EXPECTED = ("invalid", "too_many", "conflict")  # refusals that the person at the form can mend


@dataclass(slots=True)
class EndpointForm:
    """typed: the form's texts by field name, to be shown again. wanted: what the API would be sent. wrong: by field
    name, what is not in order; "" for what is about no field of the form."""

    typed: dict[str, str]
    wanted: dict[str, Any] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def places(self) -> list[str]:
        """Where something is wrong, from the top of the form to its end."""
        return [name for name in ("workspace", *NAMES) if name in self.wrong]

    def done(self, act: Callable[[], None]) -> bool:
        """Whether nothing is wrong with the form and `act` did it; else the form says what is wrong."""
        if self.wrong:
            return False
        try:
            act()
        except Problem as problem:
            if problem.code not in _EXPECTED:
                raise
            self.blame(problem)
            return False
        return True

    def blame(self, problem: Problem) -> None:
        """Put a refusal beside the fields that it is about."""
        for error in problem.errors:
            self.say(error["field"], error["detail"])
        if not self.wrong:
            self.say("", problem.detail)

    def say(self, place: str, words: str) -> None:
        """Add a sentence about a place such as `url`, `event_types[1]` or `content_filter.and[0]`."""
        place = _OWN_FIELDS.get(place, place)
        name = re.split(r"[.\[]", place)[0]
        inner = place[len(name) :].lstrip(".")
        if name not in NAMES:
            name, inner = "", place
        elif name in _TEXTS and (number := re.fullmatch(r"\[([0-9]+)\]", inner)) is not None:
            inner = f"“{self.wanted[name][int(number[1])]}”"
        sentence = f"{inner}: {words}" if inner else words
        self.wrong[name] = f"{self.wrong[name]}; {sentence}" if name in self.wrong else sentence


def spread(text: str | None) -> str | None:
    """A content filter for people, a member a line."""
    return None if text is None else json.dumps(json.loads(text), ensure_ascii=False, indent=2)


def new_form() -> EndpointForm:
    """The form of an endpoint that is to be made."""
    return EndpointForm({"enabled": "1"})


def form_of(row: Row[Any]) -> EndpointForm:
    """The form of an endpoint as it is; without its headers, whose values are not shown again."""
    typed = {
        "url": row.url,
        "uid": row.uid or "",
        "description": row.description,
        "event_types": "\n".join(row.event_types or ()),
        "content_filter": spread(row.content_filter) or "",
        "metadata": _metadata_text(row.metadata or {}),
        "retry_delays_seconds": ", ".join(str(one) for one in row.retry_delays_seconds or ()),
    }
    if row.batch_max_events is not None:
        numbers = {f"batch_{name}": str(getattr(row, f"batch_{name}")) for name in _BATCH}
        typed |= {"batch": "1", **numbers}
    typed |= {"order": row.order or "", "feed_cursor": "1" if row.feed_cursor else ""}
    typed |= {name: ", ".join(getattr(row, name) or ()) for name in ("stream_kinds", "channels")}
    typed |= {name: "" if (value := getattr(row, name)) is None else str(value) for name in _NUMBERS}
    return EndpointForm(typed)


def read_form(form: Mapping[str, str], settings: Settings, *, new: bool) -> EndpointForm:
    """What a form asks for. new: whether the endpoint is to be made; else headers that are left empty stay."""
    made = EndpointForm({name: form.get(name, "").strip() for name in NAMES if new or name not in _NEW_ONLY})
    typed, wanted = made.typed, made.wanted
    wanted |= {"url": typed["url"], "uid": typed["uid"] or None, "description": typed["description"]}
    wanted["event_types"] = [one.strip() for one in _LINES.split(typed["event_types"]) if one.strip()] or None
    wanted |= {name: [one for one in _BETWEEN.split(typed[name]) if one] or None for name in _TEXTS[1:]}
    wanted |= {name: _number(made, name) for name in _NUMBERS}
    batch = {name: _number(made, f"batch_{name}") for name in _BATCH}
    wanted["batch"] = {name: value for name, value in batch.items() if value is not None} if typed["batch"] else None
    wanted["retry_delays_seconds"] = _delays(made)
    wanted |= {"order": lanes.STREAM if typed["order"] else None, "feed_cursor": bool(typed["feed_cursor"])}
    wanted["content_filter"] = _json(made, "content_filter", settings) if typed["content_filter"] else None
    is_json = typed["metadata"].startswith("{")
    wanted["metadata"] = _json(made, "metadata", settings) if is_json else _pairs(made, "metadata")
    if form.get("clear_headers"):
        wanted["headers"] = None
    elif typed["headers"]:
        wanted["headers"] = _pairs(made, "headers")
    if not new and not form.get("has_order"):  # opened before there were these fields: what it does not have, it leaves
        for name in _LATER:
            del wanted[name]
    if new:
        wanted["enabled"] = bool(typed["enabled"])
        wanted |= {name: typed[name] for name in ("signing", "secret") if typed[name]}
    for one in check((URL, UID, *OPTIONS, SIGNING, SECRET, ENABLED), wanted):
        made.say(one["field"], one["detail"])
    try:  # all at once: nobody wants to be told of one fault after the other
        endpoint_rules.check(settings, {name: value for name, value in wanted.items() if name not in made.wrong})
    except Problem as problem:
        made.blame(problem)
    return made


def _number(made: EndpointForm, name: str) -> int | None:
    text = made.typed[name]
    if text and not _WHOLE.fullmatch(text):
        made.say(name, "must be a whole number, or empty")
        return None
    return int(text) if text else None


def _delays(made: EndpointForm) -> list[int] | None:
    parts = [one for one in _BETWEEN.split(made.typed["retry_delays_seconds"]) if one]
    if not all(_WHOLE.fullmatch(one) for one in parts):
        made.say("retry_delays_seconds", "must be whole seconds, such as 10, 60, 600")
        return None
    return [int(one) for one in parts] or None


def _json(made: EndpointForm, name: str, settings: Settings) -> dict[str, Any] | None:
    """A JSON object, read as strictly as the API reads it."""
    try:
        return read_object(made.typed[name].encode(), settings.max_json_depth)
    except Problem as problem:
        for error in problem.errors:
            made.say(name, f"“{error['field']}” {error['detail']}")
        if not problem.errors:
            made.say(name, problem.detail.removeprefix("The body "))
        return None


def _pairs(made: EndpointForm, name: str) -> dict[str, str]:
    """One pair a line, as `Name: value`."""
    pairs: dict[str, str] = {}
    for line in made.typed[name].splitlines():
        key, colon, value = line.partition(":")
        if line.strip() and not colon:
            made.say(name, f"“{line.strip()[:40]}” must be written as name: value")
        elif key.strip() in pairs:
            made.say(name, f"“{key.strip()[:40]}” is given twice")
        elif line.strip():
            pairs[key.strip()] = value.strip()
    return pairs


def _metadata_text(metadata: Mapping[str, str]) -> str:
    """As `_pairs` reads it; as JSON when a value has lines or a name a colon, which a line cannot hold."""
    is_plain = all(":" not in name and value == value.strip() and len(value.splitlines()) < 2
                   for name, value in metadata.items())  # fmt: skip
    if is_plain:
        return "\n".join(f"{name}: {value}" for name, value in metadata.items())
    return json.dumps(metadata, indent=2, ensure_ascii=False)
