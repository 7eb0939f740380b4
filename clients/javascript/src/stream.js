// Follow a live stream over fetch: over cuts, restarts and expired tokens, without missing an event.

import { EventParser } from "./parse.js";
import { isForNow, pause, pauseMs, retryAfterMs } from "./retry.js";

const FIRST_WAIT_MS = 1000; // before the first reconnect, unless the server's `retry:` says otherwise
const SILENCE_MS = 75_000; // two heartbeats of the slowest contract (30 s) and some: a silent connection is dead
const TOKENS_REFUSED = 3; // new tokens in a row: one may have expired on its way, a third says that it is closed to us

/** The server said no in a way that asking again will not change. */
export class StreamRefused extends Error {
  constructor(status, body) {
    super(`the stream was refused with status ${status}: ${body}`);
    this.name = "StreamRefused";
    this.status = status;
    this.body = body;
  }
}

/**
 * The events of a stream, one by one, until the stream has ended (the server answers 204) or the signal aborts.
 * Throws StreamRefused for an answer that will not change, and what `token` throws, except for TypeErrors: fetch throws one
 * when the network is away.
 */
export async function* follow(url, options = {}) {
  const { token, headers, firstWaitMs = FIRST_WAIT_MS, silenceMs = SILENCE_MS, onConnection = () => {} } = options;
  new URL(url, globalThis.location?.href); // throws for an address that cannot be asked: trying again will not help
  const signal = options.signal ?? new AbortController().signal;
  let lastEventId = options.lastEventId ?? "";
  let waitMs = firstWaitMs;
  let failures = 0;
  let tokensRefused = 0;
  while (!signal.aborted) {
    let askedMs = 0;
    let cause;
    const connection = new Connection(signal, silenceMs);
    try {
      const response = await connection.open(url, await asked(headers, token, lastEventId));
      if (response.status === 204) return;
      if (response.status === 200) {
        tokensRefused = 0;
        onConnection(true);
        const parser = new EventParser(lastEventId);
        for await (const piece of connection.pieces(response)) {
          for (const event of parser.feed(piece)) {
            failures = 0;
            lastEventId = event.id;
            yield event;
            if (signal.aborted) return;
          }
          lastEventId = parser.lastEventId;
          waitMs = parser.retryMs ?? waitMs;
        }
      } else if (response.status === 401 && token && tokensRefused < TOKENS_REFUSED - 1) {
        tokensRefused += 1;
      } else if (isForNow(response.status)) {
        askedMs = retryAfterMs(response.headers);
      } else {
        throw new StreamRefused(response.status, await response.text());
      }
    } catch (error) {
      if (!isCut(error)) throw error;
      cause = error;
    } finally {
      connection.close();
    }
    if (signal.aborted) return;
    failures += 1;
    onConnection(false, cause);
    await pause(pauseMs(waitMs, failures, askedMs, Math.random()), signal);
  }
}

/**
 * Call `onEvent` for each event until the stream has ended or `close()` is called. `done` resolves then, and rejects
 * with what ended it otherwise: StreamRefused, or an error of `token` or `onEvent`.
 */
export function subscribe(url, onEvent, options = {}) {
  const stop = new AbortController();
  const subscription = { lastEventId: options.lastEventId ?? "", close: () => stop.abort(), done: Promise.resolve() };
  options.signal?.addEventListener("abort", () => stop.abort());
  if (options.signal?.aborted) stop.abort();
  subscription.done = (async () => {
    for await (const event of follow(url, { ...options, signal: stop.signal })) {
      await onEvent(event);
      subscription.lastEventId = event.id;
    }
  })();
  return subscription;
}

/** What a lost connection looks like, also inside `token`: fetch and its readers throw TypeError, an abort AbortError. */
function isCut(error) {
  return error instanceof TypeError || error?.name === "AbortError";
}

async function asked(headers, token, lastEventId) {
  const given = new Headers(headers);
  given.set("Accept", "text/event-stream");
  if (token) given.set("Authorization", `Bearer ${await token()}`);
  if (lastEventId) given.set("Last-Event-ID", lastEventId);
  return given;
}

/** One request, which is given up when nothing comes for `silenceMs`. */
class Connection {
  #stop = new AbortController();
  #timer;
  #signal;
  #silenceMs;

  constructor(signal, silenceMs) {
    this.#signal = signal;
    this.#silenceMs = silenceMs;
    this.#signal.addEventListener("abort", this.#abort);
  }

  #abort = () => this.#stop.abort();

  #heard() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#abort, this.#silenceMs);
  }

  async open(url, headers) {
    this.#heard();
    return fetch(url, { headers, cache: "no-store", signal: this.#stop.signal });
  }

  async *pieces(response) {
    const reader = response.body.getReader();
    try {
      while (true) {
        this.#heard();
        const { value, done } = await reader.read();
        if (done) return;
        clearTimeout(this.#timer); // whoever takes the events may take their time
        yield value;
      }
    } finally {
      reader.cancel().catch(() => {});
    }
  }

  close() {
    clearTimeout(this.#timer);
    this.#signal.removeEventListener("abort", this.#abort);
    this.#abort();
  }
}
