// A consumer of the feed: a reader whose place the server keeps. It reads with a lease, and commits.

import { address, ask, FeedRefused } from "./feed.js";
import { isForNow, pause, pauseMs } from "./retry.js";

const WAIT_SECONDS = 20; // for events, before a page without any is answered
const FIRST_WAIT_MS = 500; // before the first repeat of what the server did not answer
const TURN_MS = 5000; // between looks whether another reader has committed, which it may do long before its lease is over
const ANSWER_MS = 30_000; // in which the server answers, beside the time that it was asked to wait
const HELD = "lease_held";
const LOST = "lease_lost";

/** Every method rejects with FeedRefused, and with what fetch throws: a TimeoutError when no answer comes for 30 s. */
export class Consumer {
  #base;
  #path;
  #headers;

  constructor(baseUrl, name, { headers } = {}) {
    new URL(baseUrl, globalThis.location?.href); // throws for an address that cannot be asked: trying again will not help
    this.#base = baseUrl;
    this.#path = `/v1/feed/consumers/${encodeURIComponent(name)}`;
    this.#headers = headers;
  }

  /** Make it, or give it other filters; one that exists stays where it is. */
  put({ streams, kinds, types, contentFilter, start } = {}) {
    return this.#ask("PUT", "", { streams, kinds, types, content_filter: contentFilter, start });
  }

  /** Where it is, who reads, and how far it is behind. */
  get() {
    return this.#ask("GET", "");
  }

  delete() {
    return this.#ask("DELETE", "");
  }

  /** The next events, with a lease: until it is committed or over, nobody else reads. Without events there is none. */
  read({ limit, wait, leaseSeconds, idempotencyKey, signal } = {}) {
    return this.#ask("POST", "/read", { limit, wait, lease_seconds: leaseSeconds }, { idempotencyKey, signal, wait });
  }

  /** Say what was handled: up to this cursor of the page, or all of it. What was not is read again. */
  commit(lease, cursor) {
    return this.#ask("POST", "/commit", { lease, cursor });
  }

  /** Move it: to earliest, latest, a time or a cursor. */
  seek(to) {
    return this.#ask("POST", "/seek", { to });
  }

  /**
   * Its events, page by page, until the signal aborts. A page is committed when the next one is asked for: whoever leaves
   * the loop before gets it again. A page is empty when nothing came in `wait` seconds. It goes on over outages of the server, and while somebody else reads it asks every five
   * seconds. Handle an event twice without harm: a page that took longer than its lease may go to somebody else, too.
   */
  async *pages({ limit, wait = WAIT_SECONDS, leaseSeconds, signal = new AbortController().signal } = {}) {
    while (!signal.aborted) {
      const asked = { limit, wait, leaseSeconds, idempotencyKey: crypto.randomUUID(), signal };
      const page = await untilAnswered(() => this.read(asked), [HELD, LOST], signal);
      if (!page) return;
      yield page.data;
      if (page.lease) await this.#committed(page.lease, signal);
    }
  }

  async #committed(lease, signal) {
    try {
      await untilAnswered(() => this.commit(lease), [], signal);
    } catch (error) {
      if (error.code !== LOST) throw error; // lost: the page took longer than its lease, and somebody reads it again
    }
  }

  #ask(method, path, members, { idempotencyKey, signal, wait = 0 } = {}) {
    const headers = new Headers(this.#headers);
    if (idempotencyKey) headers.set("Idempotency-Key", idempotencyKey);
    if (members) headers.set("Content-Type", "application/json");
    const body = members && JSON.stringify(members);
    const inTime = within(signal, ANSWER_MS + 1000 * wait);
    return ask(address(this.#base, `${this.#path}${path}`), { method, headers, body, signal: inTime });
  }
}

/** What `ask` resolves to once the server answers; nothing when the signal has aborted before. */
async function untilAnswered(ask, passing, signal) {
  for (let failures = 1; ; failures += 1) {
    let ms = pauseMs(FIRST_WAIT_MS, failures, 0, Math.random());
    try {
      return await ask();
    } catch (error) {
      if (signal.aborted) return undefined;
      if (error instanceof FeedRefused) {
        if (passing.includes(error.code)) ms = Math.min(ms, TURN_MS);
        else if (isForNow(error.status)) ms = Math.max(ms, error.retryAfterMs);
        else throw error;
      } else if (!(error instanceof TypeError || error?.name === "TimeoutError")) {
        throw error; // fetch throws TypeErrors when the network is away
      }
    }
    await pause(ms, signal);
    if (signal.aborted) return undefined;
  }
}

/** A signal that aborts with this one, if there is one, and after so long. */
function within(signal, ms) {
  const late = AbortSignal.timeout(ms);
  return signal ? AbortSignal.any([signal, late]) : late;
}
