"""Reading posted events: the bytes of one event in, a draft or a refusal that names every wrong field out.

An event that names no stream is given one of its workspace's own, by a hash of its idempotency key: so a repeat meets
the first, and the key is unique in the workspace. One without a key is placed by what it says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple
from zlib import crc32

from app.core.event import names
from app.core.problem import MOST_COMPLAINTS, Complaint, Problem, complaint, invalid, invalid_fields
from app.core.times import TIME_HINT, read_time
from app.core.wire import json_text, trace

FIELDS = ("stream", "type", "data", "occurred_at", "idempotency_key", "metadata", "channels", "traceparent")
_NAMES, _NAMES_IN_STREAM = frozenset(FIELDS), frozenset(("kind", "id"))
OWN_STREAMS = 8  # of each workspace, for events that name none: so many web processes commit them side by side
_OBJECTS = ("stream", "metadata")  # whose members, too, may be given once only


class Draft(NamedTuple):
    """An event as posted, checked in itself. data: compact JSON text; value: the same, parsed.

    channels: labels, each once. metadata: texts, numbers, true, false and null by their names; metadata_text: the same
    as compact JSON text in the producer's spelling, "" for none. traceparent: of trace.read.
    """

    kind: str
    stream_id: str
    type: str
    data: str
    value: Any
    occurred_at: datetime | None
    idempotency_key: str | None
    channels: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = MappingProxyType({})
    metadata_text: str = ""
    traceparent: str = ""


def with_key(draft: Draft, key: str | None) -> Draft:
    """The draft under this idempotency key, if it has none of its own."""
    if key is None or draft.idempotency_key is not None:
        return draft
    if draft.kind == names.OWN_KIND:
        return draft._replace(idempotency_key=key, stream_id=_own_stream(key))
    return draft._replace(idempotency_key=key)


def with_trace(draft: Draft, header: str | None) -> Draft:
    """The draft in the trace of the request's header `traceparent`, if it has none of its own."""
    if header is None or draft.traceparent:
        return draft
    return draft._replace(traceparent=trace.read(header))


def read_event(raw: bytes, max_bytes: int, max_depth: int) -> Draft:
    """One event from the bytes of one JSON object. Raises Problem."""
    if len(raw) > max_bytes:
        raise Problem("too_large", f"The event has {len(raw)} bytes; the most is {max_bytes}.")
    value, members = json_text.read_members(raw, max_depth)
    if not isinstance(value, dict):
        raise Problem("invalid", "An event must be a JSON object with type and data.")
    if complaints := _complaints(value):
        raise invalid_fields(complaints)
    spelled = dict(members)
    if len(members) != len(value) or any(
        json_text.repeats_a_name(spelled[name], value[name]) for name in _OBJECTS if value.get(name)
    ):
        raise invalid("body", "a field is given twice")
    data, key = json_text.compact(spelled["data"]), value.get("idempotency_key")
    if stream := value.get("stream"):
        kind, stream_id = stream["kind"], stream["id"]
    else:
        kind, stream_id = names.OWN_KIND, _own_stream(key or value["type"] + data)
    return Draft(
        kind,
        stream_id,
        value["type"],
        data,
        value["data"],
        read_time(value["occurred_at"]) if value.get("occurred_at") is not None else None,
        key,
        tuple(dict.fromkeys(value.get("channels") or ())),
        value.get("metadata") or {},
        json_text.compact(spelled["metadata"]) if value.get("metadata") else "",
        trace.read(value.get("traceparent")),
    )


def _own_stream(text: str) -> str:
    """Which of the workspace's own streams takes an event, by its idempotency key, or else by what it says."""
    return f"events-{crc32(text.encode()) % OWN_STREAMS + 1}"


def _complaints(value: dict[str, Any]) -> list[Complaint]:
    return [
        *(complaint(name, f"unknown field; an event has {', '.join(FIELDS)}") for name in _unknown(value, _NAMES)),
        *(_of_stream(value["stream"]) if "stream" in value else ()),
        *_of_type(value.get("type")),
        *_of_data(value),
        *(wrong for name, check in _OPTIONAL.items() if name in value for wrong in check(value[name])),
    ]


def _unknown(value: dict[str, Any], fields: Set[str]) -> Iterable[str]:
    """The members that are none of these fields, as many as are told."""
    return () if value.keys() <= fields else islice((name for name in value if name not in fields), MOST_COMPLAINTS + 1)


def _of_stream(stream: Any) -> list[Complaint]:
    if not isinstance(stream, dict):
        return [complaint("stream", 'give an object such as {"kind": "call", "id": "call_1"}, or leave it out')]
    unknown = _unknown(stream, _NAMES_IN_STREAM)
    complaints = [complaint(f"stream.{name}", "unknown field; a stream has kind and id") for name in unknown]
    if stream.get("kind") == names.OWN_KIND:
        complaints.append(complaint("stream.kind", names.OWN_KIND_HINT))
    elif not isinstance(stream.get("kind"), str) or not names.NEW_KIND.fullmatch(stream["kind"]):
        complaints.append(complaint("stream.kind", names.KIND_HINT))
    if not isinstance(stream.get("id"), str) or not names.EXTERNAL_ID.fullmatch(stream["id"]):
        complaints.append(complaint("stream.id", names.EXTERNAL_ID_HINT))
    return complaints


def _of_type(type: Any) -> list[Complaint]:
    if not isinstance(type, str) or not names.TYPE.fullmatch(type):
        return [complaint("type", names.TYPE_HINT)]
    if type in names.RESERVED_TYPES:
        return [complaint("type", f"{type} is reserved; choose another name")]
    return []


def _of_data(value: dict[str, Any]) -> list[Complaint]:
    if "data" not in value:
        return [complaint("data", "is missing; give an object, {} if there is nothing to say")]
    return [] if isinstance(value["data"], dict) else [complaint("data", "must be an object")]


def _of_key(key: Any) -> list[Complaint]:
    if key is None or (isinstance(key, str) and names.KEY.fullmatch(key)):
        return []
    return [complaint("idempotency_key", names.KEY_HINT)]


def _of_time(text: Any) -> list[Complaint]:
    if text is None:
        return []
    try:
        if not isinstance(text, str):
            raise ValueError
        read_time(text)
    except ValueError:
        return [complaint("occurred_at", TIME_HINT)]
    return []


def _of_trace(text: Any) -> list[Complaint]:
    """A malformed one is ignored, as that of a header is."""
    return [] if text is None or isinstance(text, str) else [complaint("traceparent", "must be a string")]


def _of_metadata(metadata: Any) -> list[Complaint]:
    if metadata is None:
        return []
    if not isinstance(metadata, dict):
        return [complaint("metadata", 'give an object such as {"request_id": "r_1"}')]
    if len(metadata) > names.MOST_METADATA:
        return [complaint("metadata", f"must have at most {names.MOST_METADATA} members, this has {len(metadata)}")]
    wrong = (complaint(f"metadata.{name}", why) for name, value in metadata.items() if (why := _of_note(name, value)))
    return list(islice(wrong, MOST_COMPLAINTS + 1))


def _of_note(name: str, value: Any) -> str | None:
    """What is wrong with one member of the metadata. Its values hold nothing: `data` is the one object of an envelope
    that may follow `"data":` (envelope.data_of)."""
    if not names.METADATA_NAME.fullmatch(name):
        return names.METADATA_NAME_HINT
    if isinstance(value, dict | list):
        return "must be a text, a number, true, false or null"
    if len(str(value)) > names.LONGEST_METADATA:
        return f"must have at most {names.LONGEST_METADATA} letters"
    return None


def _of_channels(channels: Any) -> list[Complaint]:
    if channels is None:
        return []
    if not isinstance(channels, list):
        return [complaint("channels", 'give an array of texts such as ["team:billing"]')]
    if len(channels) > names.MOST_CHANNELS:
        return [complaint("channels", f"must have at most {names.MOST_CHANNELS} entries, this has {len(channels)}")]
    return [
        complaint(f"channels[{index}]", names.CHANNEL_HINT)
        for index, channel in enumerate(channels)
        if not isinstance(channel, str) or not names.CHANNEL.fullmatch(channel)
    ]


# The fields that an event may do without, each with what is wrong with a value of it; null is as good as none.
_OPTIONAL: Mapping[str, Callable[[Any], list[Complaint]]] = {
    "idempotency_key": _of_key,
    "occurred_at": _of_time,
    "metadata": _of_metadata,
    "channels": _of_channels,
    "traceparent": _of_trace,
}
