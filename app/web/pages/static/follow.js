// A stream as it happens, below what the page began with; an ended one once more, at a speed of the person's choice.
// Read by fetch, which shows every type of event; an EventSource hears only those that it is told of.

import { EventStreamParser } from "./event-stream.js";
import { member } from "./json-text.js";

const MOST_SHOWN = 500;
const DRAW_MILLISECONDS = 100;
const AGAIN_MILLISECONDS = 1500;

const page = (id) => document.getElementById(id);
const follow = page("follow");
let after = Number(follow.dataset.after);
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
    if (ended || signal.aborted) return;
    say("waiting", "reconnecting");
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));
  }
}

// True when nothing more will come.
async function once(query, words, signal) {
  const headers = after > 0 ? { "Last-Event-ID": String(after) } : {};
  const answer = await fetch(`${follow.dataset.url}?${query}`, { headers, signal, cache: "no-store" });
  if (answer.status === 204) return say("ended", "ended"), true;
  if (answer.status !== 200 || answer.redirected) return say("refused", "not let in"), true;
  say("live", words);
  const parser = new EventStreamParser((event) => take(event.data), () => {});
  const body = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await body.read();
    if (done) return false;
    parser.push(value);
  }
}

function take(text) {
  const event = JSON.parse(text);
  if (event.type === "reset") return void (after = event.last_seq);
  after = event.seq;
  waiting.push({ ...event, text });
  if (waiting.length > MOST_SHOWN) waiting.shift();
  drawing ||= setTimeout(draw, DRAW_MILLISECONDS);
}

function draw() {
  drawing = 0;
  const list = page("events");
  const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
  list.append(...waiting.map(row));
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
  type.append(named(event));
  const seq = document.createElement("span");
  seq.className = "quiet small";
  seq.textContent = `#${event.seq}`;
  const time = document.createElement("time");
  time.dateTime = event.timestamp;
  time.textContent = event.timestamp.replace("T", " ").replace("Z", "");
  line.append(type, seq, time);
  const data = document.createElement("pre");
  data.textContent = member(event.text, "data");
  made.append(line, data);
  return made;
}

// The customer portal has no page for an event.
function named(event) {
  if (!follow.dataset.events) return event.type;
  const link = document.createElement("a");
  link.href = `${follow.dataset.events}/${event.id}`;
  link.textContent = event.type;
  return link;
}

function replay() {
  page("events").replaceChildren();
  waiting = [];
  after = 0;
  read(`after_seq=0&speed=${page("speed").value}`, `replaying ${page("speed").value}×`);
}

follow.hidden = false;
if (follow.dataset.ended === "yes") {
  say("ended", "ended");
  page("replay").addEventListener("click", replay);
} else {
  read(`after_seq=${after}`, "live");
}
