// What comes while somebody looks, below what the page began with: a stream, an ended one once more at a speed of the
// person's choice, or the feed of all streams. Read by fetch, which shows every type of event; an EventSource hears only
// those that it is told of.

import { EventStreamParser } from "./event-stream.js";
import { member } from "./json-text.js";

const MOST_SHOWN = 500;
const DRAW_MILLISECONDS = 100;
const AGAIN_MILLISECONDS = 1500;
const MISSING = "Events are missing here: they were lost with a server, or are no longer kept.";

const page = (id) => document.getElementById(id);
const follow = page("follow");
const isFeed = follow.dataset.feed === "yes";
let after = follow.dataset.after; // the id of the last event that was seen; of a stream its seq, of the feed a cursor
let reading = new AbortController();
let waiting = [];
let drawing = 0;

function say(state, text) {
  page("follow-state").className = `state ${state}`;
  page("follow-state").textContent = text;
}

async function read(query, words) {
  reading.abort();
  reading = new AbortController();
  const { signal } = reading;
  say("connecting", "connecting");
  while (!signal.aborted) {
    const ended = await once(query, words, signal).catch(() => false);
    if (signal.aborted) return;
    if (ended) return isLive(false);
    say("waiting", "reconnecting");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));
  }
}

// True when nothing more will come.
async function once(query, words, signal) {
  const headers = after && after !== "0" ? { "Last-Event-ID": after } : {};
  const url = new URL(follow.dataset.url, location.href);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const answer = await fetch(url, { headers, signal, cache: "no-store" });
  if (answer.status === 204) return say("ended", "ended"), true;
  if (answer.status === 429) return say("refused", "too many live views"), true;
  if (answer.status >= 500) return false;
  if (answer.status !== 200 || answer.redirected) return say("refused", "not let in"), true;
  say("live", words);
  const parser = new EventStreamParser(take, () => {});
  const body = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await body.read();
    if (done) return false;
    parser.push(value);
  }
}

function take({ type, data, lastId }) {
  after = lastId || after;
  waiting.push(type === "reset" ? null : { ...JSON.parse(data), text: data });
  if (waiting.length > MOST_SHOWN) waiting.shift();
  drawing ||= setTimeout(draw, DRAW_MILLISECONDS);
}

function draw() {
  drawing = 0;
  const list = page("events");
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
  list.append(...waiting.map((it) => (it ? row(it) : missing())));
  waiting = [];
  while (list.childElementCount > MOST_SHOWN) list.firstElementChild.remove();
  page("none")?.remove();
  if (atEnd) scrollTo(0, document.documentElement.scrollHeight);
}

function row(event) {
  const made = document.createElement("li");
  const line = document.createElement("div");
  line.className = "line";
  const type = document.createElement("b");
  type.append(link(follow.dataset.events && `${follow.dataset.events}/${event.id}`, event.type));
  line.append(type);
  if (isFeed) line.append(streamOf(event.stream));
  const seq = document.createElement("span");
  seq.className = "quiet small";
  seq.textContent = `#${event.seq}`;
  const time = document.createElement("time");
  time.dateTime = event.timestamp;
  time.textContent = event.timestamp.replace("T", " ").replace("Z", "");
  line.append(seq, time);
  const data = document.createElement("pre");
  data.textContent = member(event.text, "data");
  made.append(line, data);
  return made;
}

function streamOf({ kind, id }) {
  const made = document.createElement("span");
  made.className = "small";
  const { streams } = follow.dataset;
  made.append(link(streams && `${streams}/${kind}/${encodeURIComponent(id)}`, `${kind}/${id}`));
  return made;
}

function missing() {
  const made = document.createElement("li");
  made.className = "missing";
  made.textContent = MISSING;
  return made;
}

// Plain text where the page leads nowhere: the customer portal has no page for an event.
function link(href, text) {
  if (!href) return text;
  const made = document.createElement("a");
  made.href = href;
  made.textContent = text;
  return made;
}

function replay() {
  page("events").replaceChildren();
  waiting = [];
  after = "0";
  read({ after_seq: 0, speed: page("speed").value }, `replaying ${page("speed").value}×`);
}

// The feed's switch shows whether it is followed.
function isLive(is) {
  if (!page("switch")) return;
  page("switch").setAttribute("aria-pressed", String(is));
  page("switch").textContent = is ? "Stop" : "Live";
}

function start() {
  isLive(true);
  read(isFeed ? {} : { after_seq: after }, "live");
}

function stop() {
  reading.abort();
  isLive(false);
  say("stopped", "stopped");
}

follow.hidden = false;
if (follow.dataset.ended === "yes") {
  say("ended", "ended");
  page("replay").addEventListener("click", replay);
} else if (follow.dataset.start !== "no") {
  start();
}
page("switch")?.addEventListener("click", () => (page("switch").getAttribute("aria-pressed") === "true" ? stop() : start()));
