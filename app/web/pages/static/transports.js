// Three ways to read a stream. Each is begun with a stream and what to call, and gives back {close}.
//
// stream: {live, socket: URLs of the stream, token, after: the seq seen last (kept up to date by the page), types}
// on: state(name, detail) with "connecting", "live", "waiting"; event(data, id of the frame);
//     over(name, detail) with "ended" or "refused", once, after which nothing more comes.

import { EventStreamParser } from "./event-stream.js";

const SILENCE_MILLISECONDS = 45_000; // three heartbeats: the connection is dead though nobody has said so
const WAIT_MILLISECONDS = { first: 1000, most: 30_000 };
const CUT = "The connection was cut. Nothing is lost: it goes on from here.";
const BEYOND_ALL = 999_999_999_999_999_999n; // a cursor behind every event: asks only whether the stream has ended

export const TRANSPORTS = { fetch: byFetch, eventsource: byEventSource, websocket: byWebSocket };

// The default: every type of event is shown, the token stays out of the URL, and a refusal can be explained.
function byFetch(stream, on) {
  const run = new Run(on);
  run.loop(async (signal, alive) => {
    alive();
    const response = await ask(stream, stream.after, signal);
    if (response.status !== 200) return verdict(response);
    run.isLive();
    const parser = new EventStreamParser(
      (event) => on.event(event.data, event.lastId),
      (milliseconds) => run.waitNext(milliseconds),
    );
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return { again: true };
      alive();
      parser.push(value);
    }
  });
  return run;
}

// The browser's own EventSource. It hears only the types that it is told of, and reconnects by itself.
function byEventSource(stream, on) {
  const run = new Run(on);
  run.loop((signal) => new Promise((resolve) => {
    const source = new EventSource(withToken(stream.live, stream));
    signal.addEventListener("abort", () => source.close());
    source.onopen = () => run.isLive();
    source.onerror = () => {
      if (source.readyState === EventSource.CONNECTING) return on.state("waiting", CUT);
      resolve(whyClosed(stream, BEYOND_ALL, signal));
    };
    for (const type of [...stream.types, "reset"]) source.addEventListener(type, (event) => on.event(event.data, event.lastEventId));
  }));
  return run;
}

function byWebSocket(stream, on) {
  const run = new Run(on);
  run.loop((signal) => new Promise((resolve) => {
    const socket = new WebSocket(withToken(stream.socket, stream));
    signal.addEventListener("abort", () => socket.close());
    socket.onopen = () => run.isLive();
    socket.onmessage = (event) => on.event(event.data);
    socket.onclose = (event) => resolve(event.code === 1000 ? { ended: true } : whyClosed(stream, stream.after, signal));
  }));
  return run;
}

// Connects again and again, waiting longer each time, until the stream is over or the page closes it.
class Run {
  #on;
  #closed = false;
  #connection = new AbortController();
  #wait = WAIT_MILLISECONDS.first;
  #told = null; // by the server's `retry:`
  #wake = () => {};

  constructor(on) {
    this.#on = on;
  }

  close() {
    this.#closed = true;
    this.#connection.abort();
    this.#wake();
  }

  isLive() {
    this.#wait = WAIT_MILLISECONDS.first;
    this.#told = null;
    this.#on.state("live", "");
  }

  waitNext(milliseconds) {
    this.#told = Math.min(milliseconds, WAIT_MILLISECONDS.most);
  }

  // connect(signal, alive) resolves with {ended}, {refused: why, status} or {again}; alive() puts off the end of its patience.
  async loop(connect) {
    while (!this.#closed) {
      this.#on.state("connecting", "");
      const result = await this.#once(connect);
      if (this.#closed) return;
      if (result.ended) return this.#on.over("ended", "");
      if (result.refused) return this.#on.over("refused", result);
      await this.#pause(result.afterMilliseconds, result.why ?? CUT);
    }
  }

  async #once(connect) {
    this.#connection = new AbortController();
    const connection = this.#connection;
    let timer = 0;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => connection.abort(), SILENCE_MILLISECONDS);
    };
    try {
      return await connect(connection.signal, alive);
    } catch {
      return { again: true }; // the network's errors say nothing that a person could use
    } finally {
      clearTimeout(timer);
      connection.abort();
    }
  }

  async #pause(asked, why) {
    const milliseconds = asked ?? this.#told ?? this.#wait * (0.75 + Math.random() / 2);
    this.#told = null;
    this.#wait = Math.min(this.#wait * 2, WAIT_MILLISECONDS.most);
    this.#on.state("waiting", why);
    await new Promise((resolve) => {
      this.#wake = resolve;
      setTimeout(resolve, milliseconds);
    });
  }
}

function ask(stream, after, signal) {
  const headers = { Accept: "text/event-stream", Authorization: `Bearer ${stream.token}`, "Last-Event-ID": String(after) };
  return fetch(stream.live, { headers, signal, cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
}

// EventSource and WebSocket do not say why they were refused, so it is asked for.
async function whyClosed(stream, after, signal) {
  const asking = new AbortController();
  signal.addEventListener("abort", () => asking.abort());
  try {
    const response = await ask(stream, after, asking.signal);
    return response.status === 200 ? { again: true } : await verdict(response);
  } catch {
    return { again: true };
  } finally {
    asking.abort();
  }
}

async function verdict(response) {
  if (response.status === 204) return { ended: true };
  const problem = await response.json().catch(() => ({}));
  const why = problem.detail ?? `The server answered ${response.status}.`;
  if (response.status !== 429 && response.status < 500) return { refused: why, status: response.status };
  const seconds = Number(response.headers.get("Retry-After"));
  return { again: true, why, afterMilliseconds: seconds > 0 ? seconds * 1000 : undefined };
}

function withToken(url, stream) {
  const made = new URL(url);
  made.searchParams.set("token", stream.token);
  made.searchParams.set("after_seq", String(stream.after));
  return made;
}
