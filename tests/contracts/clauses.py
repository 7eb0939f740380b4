"""Every clause of the four documents, in our own words, in the order in which each document says it.

Read sentence by sentence. What a document leaves open and the design settles is marked `(settled)`. A test says which
clauses it shows with `@clause("serveka-3", …)`; a clause that no test shows fails the run.
"""

from __future__ import annotations

from dataclasses import dataclass

KINDS = (
    "path",
    "credential",
    "status",
    "header",
    "frame",
    "field",
    "heartbeat",
    "opening",
    "closing",
    "buffer",
    "error",
    "ended",
    "isolation",
    "webhook",
)


@dataclass(frozen=True)
class Clause:
    """One thing that a document promises. kind: one of KINDS."""

    id: str
    kind: str
    text: str

    @property
    def contract(self) -> str:
        return self.id.partition("-")[0]


def _numbered(contract: str, *clauses: tuple[str, str]) -> list[Clause]:
    return [Clause(f"{contract}-{number}", kind, text) for number, (kind, text) in enumerate(clauses, 1)]


SERVEKA = _numbered(
    "serveka",
    ("path", "Each bot has a live stream of server-sent events, read while the meeting goes on"),
    ("path", "`POST /api/v1/bots/{bot_id}/subscribe` gives the stream's URL and a token for it"),
    ("credential", "The key for it stands in `X-API-Key`, and nowhere else"),
    ("status", "It answers 200 with JSON of exactly `url` and `token`"),
    ("field", "`url` is the address of that bot's own stream, `/sse/{bot_id}`"),
    ("field", "`token` is a JSON Web Token (HS256) that lives shortly: five minutes (settled)"),
    ("credential", "The stream opens with the token as `Authorization: Bearer`"),
    ("credential", "A browser, whose EventSource sends no headers, opens it with `?token=` (settled)"),
    ("frame", "Events are named: `event:` is the type, `data:` the bare payload as JSON"),
    ("field", "`transcript_segment` carries speaker, text, timestamp and is_final"),
    ("field", "`is_final` tells a finished segment from one that is still growing"),
    ("field", "`bot_status` carries status and timestamp"),
    ("field", "`participant_update` carries participants, a list of names"),
    ("field", "`action_detected` carries action_type and data"),
    ("field", "`recording_ready` carries recording_url"),
    ("heartbeat", "The connection stays open as long as the meeting: a comment every 15 s keeps it so (settled)"),
    (
        "closing",
        "The stream closes by itself when the bot leaves, that is, completes or fails: 60 s later, or with the"
        " recording (settled)",
    ),
    ("buffer", "After a cut, subscribing again gives a fresh URL and a fresh token"),
    ("buffer", "Events are kept for 30 seconds: who is back by then misses nothing, also with a fresh token"),
    ("buffer", "What is older than 30 seconds is not replayed"),
    ("buffer", "A reader who falls behind catches up and loses nothing (settled)"),
    ("credential", "The token is verified here: a forged, expired, revoked or other bot's token is refused"),
    ("credential", "An open stream is closed when its token expires (settled)"),
    ("error", "A refused connection is a plain HTTP error, which EventSource reports to `onerror`"),
    ("ended", "A bot that completed or failed: 200, its final status, and the end (settled)"),
    ("ended", "An EventSource that has seen the end is told to stop: 204 (settled)"),
    ("webhook", "The same events can be had as HTTP POSTs instead"),
    ("isolation", "A bot of another customer answers as one that does not exist, 404 (settled)"),
    ("ended", "`recording_ready` may follow the end: who is connected sees it, and may close if they need no more"),
)

VOICEBIP = _numbered(
    "voicebip",
    ("path", "Three live endpoints: a call's transcript (SSE), a conversation (SSE), a call's events (WebSocket)"),
    ("credential", "All three take the key as `Authorization: Bearer pk_…`"),
    ("credential", "Browsers may give the key as `?token=` on the two call paths"),
    ("credential", "On the conversation path, and on the rest of the API, `?token=` is ignored: 401"),
    ("header", "A key in the query must not leak: it is in no log, and no Referer carries it on"),
    ("frame", "The transcript path carries one turn of the user or the agent in each frame, and nothing else"),
    ("frame", "SSE frames have no `event:` line; `data:` is the webhook's envelope plus event_type (settled)"),
    ("closing", "The transcript closes when the call ends"),
    ("closing", "A client that disconnects ends its stream here too"),
    ("buffer", "Nothing is replayed: who comes back sees what happens from then on"),
    ("path", "The conversation path carries the messaging of one conversation, which does not end"),
    ("field", "`message.*` events carry message_id, direction, text and status; SMS and WhatsApp alike"),
    ("field", "`conversation.mode_changed` carries from_mode, to_mode and actor_user_id"),
    ("field", "Every frame names its event_type, by which a dashboard dispatches"),
    ("webhook", "The same events come through webhooks"),
    (
        "status",
        "The call event path answers 101 Switching Protocols, after the credential was found good and not before",
    ),
    ("frame", "WebSocket frames are JSON envelopes equal to the webhook's payload, byte for byte"),
    ("field", "Call events tell of barge-ins, idle silences and worse quality"),
    (
        "frame",
        "The WebSocket is bidirectional: what a client sends, DTMF say, becomes a `call.control` event (settled)",
    ),
    ("frame", "Audio is announced for later: no binary frame is sent, and one from a client is refused with 1003"),
    ("frame", "`call.barge_in` is shown for phone calls, over ESL and SIP"),
    ("frame", "`call.barge_in` of a WebRTC call is not in the stream (its webhooks have it: settled)"),
    ("status", "No write timeout cuts a long-lived stream: ten silent seconds are nothing"),
    ("path", "No other path of theirs streams: the rest of the API answers and is done"),
    ("isolation", "A call or conversation of another workspace answers 404, not 401, exactly like an absent one"),
    ("heartbeat", "SSE streams send a comment line every 30 seconds"),
    ("heartbeat", "A WebSocket is pinged, and a peer that answers no ping is let go (settled)"),
    ("buffer", "At most 64 frames wait for a slow reader; the next ones are dropped, and counted"),
    ("buffer", "A slow reader holds up nobody else"),
    ("webhook", "Webhooks are the authority: they have every event, and are retried on their own for 24 hours"),
    ("ended", "A call that has ended is not found, 404 (settled)"),
    ("closing", "The WebSocket closes with 1000 when the call ends, and otherwise says whether to come back (settled)"),
    ("error", "A handshake that is none is told what is spoken here: 426, or 400 for a bad key (settled)"),
    (
        "error",
        "Frames from a client are checked: size, rate, encoding and form, each with its own close code (settled)",
    ),
)

ATOMS = _numbered(
    "atoms",
    ("path", "`GET /atoms/v1/events?callId=` streams what the user says and what the agent answers in an active call"),
    ("buffer", "Events come straight from the call as they happen; nothing is replayed"),
    ("closing", "The connection closes by itself when the call ends"),
    ("ended", "Only active calls can be watched: a completed one answers 400"),
    ("field", "`user_interim_transcription` is a part of a turn, superseded by the final one"),
    ("field", "`user_transcription` is the final text of a turn of the user"),
    ("field", "`tts_completed` tells what the agent has spoken and, optionally, the latency"),
    ("opening", "`sse_init` is sent at once when the connection is there"),
    ("closing", "`sse_close` is sent when the call ends, right before the connection closes"),
    ("frame", "Other types are sent too: call_start, call_end, turn_latency, metrics"),
    ("credential", "The key is sent as `Authorization: Bearer`"),
    ("credential", "A signed-in browser's session cookie opens the stream as well, from pages of this origin only"),
    ("path", "`callId` is required: 400 without it"),
    ("header", "A stream that was opened answers 200 with `text/event-stream`"),
    ("field", "Each frame has event_type"),
    ("field", "Each frame has event_id, which is unique"),
    ("field", "Each frame has timestamp, in ISO 8601"),
    ("field", "Each frame has call_id, the call it belongs to"),
    ("field", "interim_transcription_text stands in user_interim_transcription only"),
    ("field", "user_transcription_text stands in user_transcription only"),
    ("field", "tts_text, and tts_latency in whole milliseconds, stand in tts_completed only"),
    ("error", "A bad request answers 400"),
    ("error", "An unknown call answers 404"),
    ("frame", "A frame is one flat object without an `event:` line (settled)"),
    ("heartbeat", "A comment every 15 seconds (settled)"),
    ("buffer", "A reader who falls behind catches up and loses nothing (settled)"),
    ("isolation", "A call of another workspace answers as an absent one (settled)"),
)

AITRONOS = _numbered(
    "aitronos",
    ("path", "`GET /v1/meeting-buddy/sessions/{session_id}/stream` tells a session's status as it changes"),
    ("frame", "The stream carries status changes, people who join and leave, and errors; nothing else of the session"),
    ("header", "The answer is 200 with `text/event-stream`"),
    ("status", "The connection stays open until the session ends or the client goes"),
    ("heartbeat", "The comment `: keepalive` every 15 seconds"),
    ("closing", "When the session has completed or failed, `close` is sent and the stream ends"),
    ("path", "session_id must begin with `mbsess_`"),
    ("field", "`status` carries session_id, status, previous_status or null, and timestamp"),
    ("field", "`status` carries error_message and error_code, null unless it failed"),
    ("field", "Joining and leaving come as `status` with participant_name and event, joined or left"),
    ("field", "`close` carries reason, always session_ended"),
    ("frame", "Each event is `event: <name>`, then `data: <JSON>`, one line each, one space behind the colon"),
    ("credential", "The token of the API is sent as `Authorization: Bearer`"),
    ("frame", "The document's own Python example, which reads lines, understands the stream"),
    ("frame", "A client with listeners for `status` and `close` gets both, and closes at `close`"),
    ("error", "An unknown session answers 404 in their envelope, code SESSION_NOT_FOUND, field by field"),
    (
        "error",
        "A malformed id answers 422 in their envelope, code INVALID_SESSION_ID_FORMAT, before anything is looked up",
    ),
    ("error", "Every other refusal has the same envelope (settled)"),
    ("buffer", "A reconnect goes on behind its `Last-Event-ID` (settled)"),
    ("buffer", "A reader who falls behind catches up and loses nothing (settled)"),
    ("ended", "A session that is over: 200, its last status, `close` (settled)"),
    ("ended", "A client that has seen the end is told to stop: 204 (settled)"),
    ("isolation", "A session of another workspace answers as an absent one (settled)"),
)

CLAUSES = {clause.id: clause for clause in (*SERVEKA, *VOICEBIP, *ATOMS, *AITRONOS)}
