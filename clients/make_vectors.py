"""Writes clients/vectors.json from the server's own functions: what every client has to verify, read and refuse.

    python -m clients.make_vectors

`tests/clients/test_vectors.py` holds the file to what this makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from app.core.event import drafts
from app.core.webhook import batches
from app.core.webhook.signing import new_secret, new_signing_key, public_key, sign
from app.core.wire import envelope, sse

FILE = Path(__file__).with_name("vectors.json")
ABOUT = (
    "Test vectors of Twofold's clients. signatures: verifying `body` (UTF-8) under `headers` with any of `secrets`"
    " at `now` (Unix seconds) succeeds exactly when `valid`. malformed_secrets: each is refused as a mistake of"
    " configuration, whatever the request is. envelopes: an event posted with `posted` as its data has this `body` in"
    " webhooks and streams, and `data` is the payload in it, byte for byte; where there are `metadata` and `channels`,"
    " it was posted with them, and `metadata` (JSON text) is in the body as well. batches: the `ids` of the events in"
    " `body`, in order; where not `valid`, all of it is refused. streams: the server-sent events in"
    " `text`, however it is cut into pieces, and the cursor and the wait (milliseconds, null: not said) behind them."
)
NOW = 1_795_000_000
TOLERANCE_SECONDS = 300
ID = "evt_0198c2d4e5f6a7b8c9d0e1f2a3b4c5d6"
BODY = '{"id":"' + ID + '","type":"call.barge_in","data":{"at_ms":1200,"gain":1.0}}'
BATCH_ID = "bat_0198c2d4e5f6a7b8c9d0e1f2a3b4c5d6"
BATCH = batches.body([BODY.encode(), BODY.replace("1200", "1300").encode()]).decode()
SECRET, NEWER, STRANGER = (new_secret(letter * 32) for letter in (b"s", b"n", b"x"))
SHORTEST, LONGEST = new_secret(bytes(range(24))), new_secret(bytes(range(64)))
SIGNING_KEY = new_signing_key(b"k" * 32)
PUBLIC_KEY, STRANGERS_PUBLIC_KEY = public_key(SIGNING_KEY), public_key(new_signing_key(b"y" * 32))

# The example that the libraries of Standard Webhooks publish: https://www.standardwebhooks.com.
PUBLISHED = ("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, '{"test": 2432232314}')
PUBLISHED_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PUBLISHED_KEY = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="


def _signature(
    name: str,
    secrets: list[str],
    signers: list[str],
    *,
    valid: bool = True,
    at: int = NOW,
    body: str = BODY,
    id: str = ID,
    **other: Any,
) -> dict[str, Any]:
    """A request signed by `signers`, and whether `secrets` verify it. other: what differs when it arrives."""
    headers = {
        "webhook-id": id,
        "webhook-timestamp": str(at),
        "webhook-signature": sign(signers, id, at, body.encode()),
    }
    return {
        "name": name,
        "secrets": secrets,
        "headers": headers | other.get("headers", {}),
        "body": other.get("body_received", body),
        "now": other.get("now", NOW),
        "tolerance_seconds": other.get("tolerance_seconds", TOLERANCE_SECONDS),
        "valid": valid,
    }


def _published(name: str, secret: str, signer: str) -> dict[str, Any]:
    id, timestamp, body = PUBLISHED
    headers = {"webhook-id": id, "webhook-timestamp": str(timestamp)}
    headers["webhook-signature"] = sign([signer], id, timestamp, body.encode())
    case = {"name": name, "secrets": [secret], "headers": headers, "body": body, "now": timestamp}
    return case | {"tolerance_seconds": TOLERANCE_SECONDS, "valid": True}


def _signatures() -> list[dict[str, Any]]:
    v1 = sign([SECRET], ID, NOW, BODY.encode())
    return [*_genuine(v1), *_times(), *_forged(v1)]


def _genuine(v1: str) -> list[dict[str, Any]]:
    many = " ".join([f"v2,{'A' * 43}=", f"v1,{'A' * 43}=", "v1,", "junk", v1])
    return [
        _published("published v1", PUBLISHED_SECRET, PUBLISHED_SECRET),
        _published("published v1a, by the public key", public_key(PUBLISHED_KEY), PUBLISHED_KEY),
        _published("published v1a, by the private key", PUBLISHED_KEY, PUBLISHED_KEY),
        _signature("v1", [SECRET], [SECRET]),
        _signature("v1a", [PUBLIC_KEY], [SIGNING_KEY]),
        _signature("v1 beside v1a", [SECRET], [SECRET, SIGNING_KEY]),
        _signature("v1a behind v1", [PUBLIC_KEY], [SECRET, SIGNING_KEY]),
        _signature("rotation: the receiver has the former secret", [SECRET], [NEWER, SECRET]),
        _signature("rotation: the receiver has both secrets", [NEWER, SECRET], [SECRET]),
        _signature("rotation: the receiver has a secret and a public key", [STRANGER, PUBLIC_KEY], [SIGNING_KEY]),
        _signature("the shortest secret", [SHORTEST], [SHORTEST]),
        _signature("the longest secret", [LONGEST], [LONGEST]),
        _signature(
            "other versions and broken signatures in between", [SECRET], [], headers={"webhook-signature": many}
        ),
        _signature("text beyond ASCII", [SECRET], [SECRET], body='{"text":"é 😀 \u2028 中"}'),
        _signature("an empty body", [SECRET], [SECRET], body=""),
        _signature("a batch", [SECRET], [SECRET, SIGNING_KEY], body=BATCH, id=BATCH_ID),
        _signature("a batch, by the public key", [PUBLIC_KEY], [SECRET, SIGNING_KEY], body=BATCH, id=BATCH_ID),
    ]


def _times() -> list[dict[str, Any]]:
    last = TOLERANCE_SECONDS
    return [
        _signature("as old as may be", [SECRET], [SECRET], now=NOW + last),
        _signature("as far ahead as may be", [SECRET], [SECRET], now=NOW - last),
        _signature("too old", [SECRET], [SECRET], now=NOW + last + 1, valid=False),
        _signature("too far ahead", [SECRET], [SECRET], now=NOW - last - 1, valid=False),
        _signature("a shorter tolerance", [SECRET], [SECRET], now=NOW + 31, tolerance_seconds=30, valid=False),
        _signature("a longer tolerance", [SECRET], [SECRET], now=NOW + 3600, tolerance_seconds=3600),
        *(
            _signature(
                f"a timestamp spelled {text!r}", [SECRET], [SECRET], headers={"webhook-timestamp": text}, valid=False
            )
            for text in ("", f" {NOW}", f"+{NOW}", f"{NOW}.0", "now", "9" * 13, "١٧٩٥٠٠٠٠٠٠")
        ),
    ]


def _forged(v1: str) -> list[dict[str, Any]]:
    v1a = sign([SIGNING_KEY], ID, NOW, BODY.encode())
    cases = {
        "no signature": "",
        "a signature without its version": v1.removeprefix("v1,"),
        "a v1 signature called v1a": f"v1a,{v1.removeprefix('v1,')}",
        "the last letter changed": f"{v1[:-2]}{'A' if v1[-2] != 'A' else 'B'}=",
        "cut": v1[:-4],
        "a genuine one behind 32 others": " ".join(["v1,AAAA"] * 32 + [v1]),
        "separated by a comma": f"v1,AAAA,{v1}",
    }
    return [
        _signature("another secret", [STRANGER], [SECRET], valid=False),
        _signature("another public key", [STRANGERS_PUBLIC_KEY], [SIGNING_KEY], valid=False),
        _signature(
            "a v1a signature called v1",
            [PUBLIC_KEY],
            [],
            headers={"webhook-signature": v1a[:1] + "1" + v1a[3:]},
            valid=False,
        ),
        _signature("no secret", [], [SECRET], valid=False),
        _signature(
            "a batch without its last event",
            [SECRET],
            [SECRET],
            body=BATCH,
            id=BATCH_ID,
            body_received=f"[{BODY}]",
            valid=False,
        ),
        _signature(
            "a batch under the id of its first event",
            [SECRET],
            [SECRET],
            body=BATCH,
            id=BATCH_ID,
            headers={"webhook-id": ID},
            valid=False,
        ),
        _signature("another body", [SECRET], [SECRET], body_received=BODY.replace("1200", "1201"), valid=False),
        _signature(
            "the same JSON, spelled otherwise", [SECRET], [SECRET], body_received=BODY.replace("1.0", "1"), valid=False
        ),
        _signature("white space behind the body", [SECRET], [SECRET], body_received=BODY + "\n", valid=False),
        _signature("another id", [SECRET], [SECRET], headers={"webhook-id": "evt_other"}, valid=False),
        _signature("another timestamp", [SECRET], [SECRET], headers={"webhook-timestamp": str(NOW + 1)}, valid=False),
        *(
            _signature(name, [SECRET], [], headers={"webhook-signature": text}, valid=False)
            for name, text in cases.items()
        ),
    ]


MALFORMED_SECRETS = (
    "",
    "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_",
    "whsec_c2hvcnQ=",
    "whsec_not base64 at all, and long enough",
    "whsec_" + "A" * 88,  # 66 bytes
    "whpk_AAAA",
    "whsk_" + "A" * 44,
)

# name -> what was posted as an event's data: white space outside strings goes, everything else stays as it is spelled.
POSTED = {
    "empty": "{}",
    "the order of keys": '{"zulu":1,"alpha":2,"10":3,"2":4}',
    "a key twice": '{"a":1,"a":2}',
    "big integers": '{"big":123456789012345678901234567890,"odd":9007199254740993,"least":-9223372036854775808}',
    "numbers as they are spelled": '{"a":1.0,"b":1e2,"c":-0.0,"d":0.1000,"e":1E400}',
    "text beyond ASCII": '{"text":"é 😀 中","key é":"\u2028\u2029\u0085"}',
    "escapes": '{"text":"\\u00e9 \\ud83d\\ude00 \\/ \\" \\\\ \\n"}',
    "half a pair": '{"text":"\\ud83d"}',
    "white space": '{ "a" :\n\t[ 1 , 2 ],\r\n "b" : " kept  here " }',
    "what looks like the envelope": '{"data":{"data":{}},"seq":0,"id":",\\"data\\":"}',
    "metadata": '{"metadata":{"trace":"4bf92f3577b34da6","tags":["a","b"],"none":null,"yes":true}}',
    "nested": '{"a":[[[[{"b":[{}]}]]]]}',
}


# What an event may be posted with besides: metadata in an envelope are spelled as they came, too.
METADATA = '{"zulu":1.0,"big":9007199254740993,"text":"é 😀","yes":true,"none":null}'
CHANNELS = ["eu", "tenant:7"]


def _envelope(name: str, posted: str, seq: int, noted: bool = False) -> dict[str, Any]:
    """noted: posted with METADATA and CHANNELS."""
    besides = f',"metadata":{METADATA},"channels":{json.dumps(CHANNELS)}' if noted else ""
    raw = f'{{"stream":{{"kind":"call","id":"call_1:a@b"}},"type":"call.noted","data":{posted}{besides}}}'
    draft = drafts.read_event(raw.encode(), 2**18, 64)
    body = envelope.encode(
        id=ID,
        type=draft.type,
        timestamp="2026-11-20T10:00:00.123Z",
        workspace_id="ws_0198c2d4e5f6a7b8c9d0e1f2a3b4c5d6",
        kind=draft.kind,
        stream_id=draft.stream_id,
        seq=seq,
        data=draft.data,
        metadata=draft.metadata_text,
    )
    return {
        "name": name,
        "posted": posted,
        **({"metadata": METADATA, "channels": CHANNELS} if noted else {}),
        "id": ID,
        "type": draft.type,
        "timestamp": "2026-11-20T10:00:00.123Z",
        "workspace_id": "ws_0198c2d4e5f6a7b8c9d0e1f2a3b4c5d6",
        "stream": {"kind": draft.kind, "id": draft.stream_id},
        "seq": seq,
        "data": draft.data,
        "body": body.decode(),
        "secret": SECRET,
        "headers": {
            "webhook-id": ID,
            "webhook-timestamp": str(NOW),
            "webhook-signature": sign([SECRET], ID, NOW, body),
        },
        "now": NOW,
    }


def _batches(envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    bodies = [one["body"] for one in envelopes]
    ids = [one["id"] for one in envelopes]
    whole = f"[{','.join(bodies)}]"
    return [
        _batch("many events", whole, ids),
        _batch("one event", f"[{bodies[0]}]", ids[:1]),
        _batch("no event", "[]", []),
        _batch("white space", f" [ {bodies[0]} ,\n{bodies[1]} ]\n", ids[:2]),
        _batch("a webhook without a batch", bodies[0], ids[:1]),
        _batch("another order", whole, None, received=f"[{','.join(reversed(bodies))}]"),
        _batch("an event less", whole, None, received=f"[{','.join(bodies[1:])}]"),
        _batch("no events in it", '["text"]', None),
        _batch("null in it", f"[{bodies[0]},null]", None),
        _batch("neither a batch nor an event", '"text"', None),
    ]


def _batch(name: str, body: str, ids: list[str] | None, received: str | None = None) -> dict[str, Any]:
    """received: what arrives instead of the body that was signed."""
    id = ID.replace("evt_", "bat_")
    headers = {"webhook-id": id, "webhook-timestamp": str(NOW)}
    headers["webhook-signature"] = sign([SECRET], id, NOW, body.encode())
    case = {"name": name, "secret": SECRET, "headers": headers, "body": received or body, "now": NOW}
    return case | {"valid": ids is not None, "ids": ids or []}


def _stream(
    name: str, text: str, events: list[tuple[str, str, str]], last_event_id: str = "", retry_ms: int | None = None
) -> dict[str, Any]:
    shown = [dict(zip(("type", "data", "id"), event, strict=True)) for event in events]
    return {"name": name, "text": text, "events": shown, "last_event_id": last_event_id, "retry_ms": retry_ms}


def _streams(envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    frames = [sse.frame(one["type"], str(one["seq"]), one["body"].encode()) for one in envelopes]
    beats = sse.comment("keepalive", blank_line=False) + sse.comment("keepalive", blank_line=True)
    whole = sse.retry(2500) + beats + beats.join(frames)
    shown = [(one["type"], one["body"], str(one["seq"])) for one in envelopes]
    lost = b'{"reason":"cursor_lost","cursor":"Zm9v"}'
    feed = sse.frame("a", "YmFy", b"{}") + sse.frame("reset", "Zm9v", lost) + b"id: cXV4\n\n"
    ahead = sse.frame("reset", None, b'{"type":"reset","last_seq":4}') + sse.frame("a", "5", b"{}")
    return [
        _stream("Twofold's own frames", whole.decode(), shown, str(len(envelopes)), 2500),
        _stream(
            "a cursor ahead", ahead.decode(), [("reset", '{"type":"reset","last_seq":4}', ""), ("a", "{}", "5")], "5"
        ),
        _stream(
            "the feed, with a lost cursor and a place without an event",
            feed.decode(),
            [("a", "{}", "YmFy"), ("reset", lost.decode(), "Zm9v")],
            "cXV4",
        ),
        _stream("CR", "event: a\rid: 1\rdata: x\r\rdata: y\r\r", [("a", "x", "1"), ("message", "y", "1")], "1"),
        _stream(
            "CRLF", "event: a\r\nid: 1\r\ndata: x\r\n\r\ndata: y\r\n\r\n", [("a", "x", "1"), ("message", "y", "1")], "1"
        ),
        _stream("a byte order mark", "\ufeffdata: x\n\n", [("message", "x", "")]),
        _stream("many data lines", "data: x\ndata:\ndata:  y\n\n", [("message", "x\n\n y", "")]),
        _stream("no space behind the colon", "data:x\nid:7\n\n", [("message", "x", "7")], "7"),
        _stream("no end", "id: 1\ndata: x\n\nid: 2\ndata: y\n", [("message", "x", "1")], "1"),
        _stream("an id without data", "id: 3\n\n", [], "3"),
        _stream(
            "an id that is emptied", "id: 3\ndata: x\n\nid\ndata: y\n\n", [("message", "x", "3"), ("message", "y", "")]
        ),
        _stream("an id with NUL", "id: 1\u0000\ndata: x\n\n", [("message", "x", "")]),
        _stream("a wait that is no number", "retry: 1s\nretry: 700\nretry: -1\n\n", [], "", 700),
        _stream("unknown fields", "datas: x\n data: x\nevent\ndata\n\n", [("message", "", "")]),
        _stream("no ends of lines", "data: a\u2028b\u0085c\u000bd\n\n", [("message", "a\u2028b\u0085c\u000bd", "")]),
    ]


def text() -> str:
    """The file's text."""
    envelopes = [_envelope(name, posted, seq) for seq, (name, posted) in enumerate(POSTED.items(), 1)]
    envelopes.append(_envelope("metadata and channels of the event", POSTED["nested"], len(envelopes) + 1, True))
    vectors = {
        "about": ABOUT,
        "signatures": _signatures(),
        "malformed_secrets": list(MALFORMED_SECRETS),
        "envelopes": envelopes,
        "batches": _batches(envelopes),
        "streams": _streams(envelopes),
    }
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
