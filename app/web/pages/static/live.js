// The page that shows one stream. Whatever comes from outside is put in as text, never as markup.

import { member, pretty } from "./json-text.js";
import { TRANSPORTS } from "./transports.js";

const MOST_SHOWN = 1000; // older ones leave the page; a stream may go on for hours
const DRAW_MILLISECONDS = 50; // events that come at once are put in at once
const NEAR_BOTTOM_PIXELS = 60;

const page = (id) => document.getElementById(id);
// Taken from the address as they stand there, escapes included.
const [kind, id] = location.pathname.split("/").slice(-2);
const place = `../../v1/streams/${kind}/${id}`;
const shownKind = decode(kind);

const stream = {
  live: new URL(`${place}/live`, location.href),
  socket: new URL(`${place}/ws`, location.href),
  token: "",
  after: 0,
  types: JSON.parse(page("types").textContent),
};
stream.socket.protocol = location.protocol === "https:" ? "wss:" : "ws:";

const TEXTS = {
  idle: "Needs a token",
  connecting: "Connecting",
  live: "Live",
  waiting: "Reconnecting",
  ended: "Ended",
  refused: "Not let in",
  stopped: "Stopped",
};

let running = null;
let count = 0;
let unheard = 0;
let waiting = []; // envelopes that have come and are not yet drawn
let drawing = 0;

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show(state, notice) {
  const named = page("state");
  named.dataset.state = state;
  page("state-text").textContent = TEXTS[state];
  page("notice").textContent = notice;
  page("notice").hidden = notice === "";
  page("notice").dataset.state = state;
  page("access").hidden = !["idle", "refused"].includes(state);
  page("toggle").hidden = !["connecting", "live", "waiting", "stopped"].includes(state);
  page("toggle").textContent = state === "stopped" ? "Go on" : "Stop";
  page("empty").hidden = count > 0 || !["live", "ended"].includes(state);
  page("empty").textContent = state === "ended" ? "This stream has ended. It has no events." : "No events yet. They appear here as they happen.";
  if (state === "ended" && count > 0) page("finish").hidden = false;
}

function start() {
  running?.close();
  if (!stream.token) return show("idle", "");
  const chosen = page("transport").value;
  page("hint").textContent = hintOf(chosen);
  page("hint").hidden = page("hint").textContent === "";
  running = TRANSPORTS[chosen](stream, {
    state: (state, detail) => show(state, detail),
    event: take,
    over: (state, detail) => {
      draw();
      if (state === "ended") return show("ended", "");
      stream.token = "";
      page("token").value = "";
      show("refused", refusal(detail));
      page("token").focus();
    },
  });
}

function hintOf(transport) {
  if (transport !== "eventsource") return "";
  return stream.types.length > 0
    ? `EventSource hears only types it is told of: the ${stream.types.length} declared for ${shownKind}.`
    : `EventSource hears only types it is told of, and none are declared for ${shownKind}: choose another transport.`;
}

function refusal({ refused, status }) {
  const mends = {
    401: "The token has expired, or it opens another stream. Mint a fresh one and paste it below: the events go on from here.",
    403: "This credential may not read streams. Mint a token with a key that has the scope subscribe.",
    404: "There is no such stream in the token's workspace. Is the address right?",
    422: "There can be no such stream. Is the address right?",
  };
  return `${mends[status] ?? "The stream cannot be opened."} (${status}: ${refused})`;
}

function take(text) {
  const event = JSON.parse(text);
  if (event.type === "reset") { // the stream has not come as far as was seen here: it goes on from its last event
    stream.after = event.last_seq;
    return;
  }
  unheard += Math.max(0, event.seq - stream.after - 1);
  stream.after = event.seq;
  count += 1;
  waiting.push({ seq: event.seq, type: event.type, timestamp: event.timestamp, text });
  if (waiting.length > MOST_SHOWN) waiting.shift();
  drawing ||= setTimeout(draw, DRAW_MILLISECONDS);
}

function draw() {
  clearTimeout(drawing);
  drawing = 0;
  if (waiting.length === 0) return;
  const list = page("events");
  const follows = isNearBottom();
  list.append(...waiting.map(row));
  waiting = [];
  while (list.childElementCount > MOST_SHOWN) list.firstElementChild.remove();
  page("count").textContent = count.toLocaleString("en");
  page("count-what").textContent = count === 1 ? "event" : "events";
  page("empty").hidden = true;
  page("left-out").hidden = count <= MOST_SHOWN && unheard === 0;
  page("left-out").textContent = [
    count > MOST_SHOWN ? `The last ${MOST_SHOWN.toLocaleString("en")} events are shown.` : "",
    unheard > 0 ? `${unheard.toLocaleString("en")} of types that this transport does not hear are missing.` : "",
  ].join(" ").trim();
  if (follows) scrollToBottom();
  page("newest").hidden = follows;
}

function row({ seq, type, timestamp, text }) {
  const made = page("event").content.cloneNode(true);
  const time = made.querySelector("time");
  const at = new Date(timestamp);
  time.dateTime = timestamp;
  time.title = timestamp;
  time.textContent = `${at.toLocaleTimeString("en-GB")}.${String(at.getMilliseconds()).padStart(3, "0")}`;
  made.querySelector(".type").textContent = type;
  made.querySelector(".seq").textContent = `#${seq}`;
  made.querySelector("pre").textContent = pretty(member(text, "data"));
  return made;
}

function isNearBottom() {
  return innerHeight + scrollY >= document.documentElement.scrollHeight - NEAR_BOTTOM_PIXELS;
}

function scrollToBottom() {
  scrollTo(0, document.documentElement.scrollHeight);
}

// What was pasted may be the whole answer of the API.
function tokenIn(text) {
  const trimmed = text.trim();
  try {
    return String(JSON.parse(trimmed).token ?? "");
  } catch {
    return trimmed;
  }
}

// A fragment is never sent to a server; taken out of the address, it is not in the history either.
function takeTokenFromAddress() {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!given) return;
  history.replaceState(null, "", location.pathname + location.search);
  stream.token = given;
  start();
}

function begin() {
  document.title = `${decode(id)} · ${shownKind} · live`;
  page("kind").textContent = shownKind;
  page("name").textContent = decode(id);
  page("mint").textContent =
    `curl -X POST ${new URL(`${place}/tokens`, location.href)} \\\n  -H "Authorization: Bearer <your key>"`;
  const asked = new URLSearchParams(location.search).get("transport");
  if (Object.hasOwn(TRANSPORTS, asked ?? "")) page("transport").value = asked;
  page("access").addEventListener("submit", (event) => {
    event.preventDefault();
    stream.token = tokenIn(page("token").value);
    start();
  });
  page("toggle").addEventListener("click", () => {
    if (page("state").dataset.state === "stopped") return start();
    running.close();
    show("stopped", "");
  });
  page("transport").addEventListener("change", () => {
    const address = new URL(location.href);
    address.searchParams.set("transport", page("transport").value);
    history.replaceState(null, "", address);
    if (["connecting", "live", "waiting"].includes(page("state").dataset.state)) start();
  });
  page("newest").addEventListener("click", scrollToBottom);
  addEventListener("scroll", () => (page("newest").hidden ||= isNearBottom()), { passive: true });
  addEventListener("hashchange", takeTokenFromAddress);
  show("idle", "");
  takeTokenFromAddress();
}

begin();
