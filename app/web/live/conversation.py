"""What a client sends on its WebSocket, and what becomes of it: texts become events of the stream, or are refused."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque

from sqlalchemy.exc import SQLAlchemyError

from app.core.event import names
from app.core.event.drafts import Draft
from app.core.problem import Problem, first_line, invalid
from app.core.wire import json_text, websocket
from app.ledger.ledger import Submission
from app.live import tokens
from app.live.carrier import Carrier, Handling
from app.live.websocket_input import WebSocketInput, close_frame
from app.web.live.opening import Admitted, Placed

log = logging.getLogger(__name__)

LINGER_SECONDS = 2.0  # for the client's half of the closing handshake
MAX_WAITING_TEXTS = 100  # of one client; the rate limit lets fewer come


class Conversation:
    """One WebSocket's. Bound to its carrier before anything is received."""

    def __init__(self, admitted: Admitted) -> None:
        self._engine = admitted.engine
        self._clock = admitted.engine.hub.clock
        # Texts of viewers, as events of producers, have no place in a workspace's own streams.
        self._event_type = None if admitted.stream.kind == names.OWN_KIND else admitted.route.inbound_type
        self._stream = admitted.stream
        self._opener = admitted.opener
        self._texts: deque[str] = deque()
        self._pending = threading.Event()
        self._over = False
        self._input = WebSocketInput(self._on_text, self._reply, self._end, time.monotonic)
        self._carrier: Carrier | None = None

    def handling(self, placed: Placed) -> Handling:
        """How the carrier is to treat this connection."""

        def farewell(reason: str) -> bytes:
            return (placed.closing() if reason == "ended" else b"") + close_frame(reason, self._input.peer_close)

        return Handling(
            placed.opening(),
            farewell,
            on_input=self._on_input,
            # A client that has sent its close frame waits for this side to close (RFC 6455 section 7.1.1).
            linger_seconds=lambda reason: 0.0 if reason == "peer" else LINGER_SECONDS,
        )

    def bind(self, carrier: Carrier) -> None:
        """The connection that answers go to."""
        self._carrier = carrier
        carrier.subscriber.heard_at = self._clock()

    def start(self) -> None:
        """Accept texts in a thread of its own: the event loop must not wait for a commit."""
        if self._event_type is not None:
            threading.Thread(target=self._work, name="ws-inbound", daemon=True).start()

    def stop(self) -> None:
        """Accept what has come, and then nothing more."""
        self._over = True
        self._pending.set()

    def _on_input(self, data: bytes) -> None:
        if self._carrier is not None:
            self._carrier.subscriber.heard_at = self._clock()
        self._input.receive(data)

    def _on_text(self, text: str) -> None:
        if self._event_type is None:
            self._say("bad_request", "This stream takes no texts from its viewers.")
        elif len(self._texts) < MAX_WAITING_TEXTS:
            self._texts.append(text)
            self._pending.set()
        else:
            self._end("too_fast")

    def _work(self) -> None:
        over = False
        while not over:
            self._pending.wait()
            self._pending.clear()
            over = self._over
            while self._texts:  # also after the end: texts that came before it count
                try:
                    self._accept(self._texts.popleft())
                except Problem as problem:
                    self._say(problem.code, problem.detail)
                except Exception:
                    log.exception("a text of a WebSocket client could not be taken")
                    self._say("internal", "Something broke on our side.")

    def _accept(self, text: str) -> None:
        if not self._opener.may_publish:
            raise Problem("forbidden", "Texts become events, which needs a key with the scope publish.")
        raw, value = json_text.read_json(text.encode(), self._engine.settings.max_json_depth)
        if not isinstance(value, dict) or set(value) != {"type", "data"}:
            raise Problem("invalid", 'Send {"type": "dtmf", "data": {…}}, with these two members.')
        text = raw.strip(json_text.BLANK)
        if len(json_text.members(text)) != len(value):
            raise invalid("body", "a field is given twice")
        if not isinstance(value["type"], str) or not names.TYPE.fullmatch(value["type"]):
            raise Problem("invalid", "type: give letters, digits and _ . : - (at most 128).")
        if not isinstance(value["data"], dict):
            raise Problem("invalid", "data: must be an object.")
        stream = self._stream
        draft = Draft(
            stream.kind,
            stream.external_id,
            self._event_type or "",
            json_text.compact(text),
            value,
            None,
            None,
        )
        self._require_credential()
        answer = self._engine.ledger.accept(Submission(stream.workspace_id, [draft]))[0]
        if isinstance(answer, Problem):
            raise answer

    def _require_credential(self) -> None:
        """Raises Problem unless the credential may publish at this moment: it was checked when the WebSocket opened,
        and the hub looks for revoked ones only every few seconds."""
        try:
            with self._engine.database.begin() as connection:
                alive = tokens.may_publish(connection, self._opener.key_id, self._opener.token_id)
        except SQLAlchemyError as error:
            log.warning("a text was not taken, its key cannot be looked up: %s", first_line(error))
            raise Problem("unavailable", "The database cannot be reached; send it again shortly.") from None
        if not alive:
            self._end("revoked")
            raise Problem("unauthorized", "The credential was revoked, or it has expired; nothing was taken.")

    def _say(self, code: str, detail: str) -> None:
        body = json.dumps({"error": {"code": code, "detail": detail}}, ensure_ascii=False)
        self._reply(websocket.text_frame(body.encode()))

    def _reply(self, frame: bytes) -> None:
        if self._carrier is not None:
            self._carrier.subscriber.say(frame)

    def _end(self, reason: str) -> None:
        if self._carrier is not None and self._carrier.lingering:
            self._carrier.subscriber.fail()  # both sides have sent their close frames
        elif self._carrier is not None:
            self._carrier.subscriber.close(reason)
