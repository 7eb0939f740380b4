// Publish events: collected, posted in batches, and posted again until the server has answered for each.

import { isForNow, pause, pauseMs, retryAfterMs } from "./retry.js";

const FIRST_WAIT_MS = 250; // before a request is made again the first time
const ANSWER_MS = 30_000; // the server itself gives a batch up after some ten seconds
const MOST_EVENTS = 500; // half of what a server takes unless it is set otherwise
const MOST_BYTES = 2 ** 20; // a quarter of it
const MOST_WAITING = 10_000;
const OF_THE_CALLER = new Set([401, 403, 404, 405]); // no smaller request would fare better

/** The server will not store this event. */
export class EventRefused extends Error {
  constructor(status, problem, idempotencyKey) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail ?? ""}`);
    this.name = "EventRefused";
    this.status = status;
    this.code = problem.code ?? "";
    this.detail = problem.detail ?? "";
    this.idempotencyKey = idempotencyKey;
  }
}

/**
 * The publisher was closed before the server had answered for this event. It may be stored nevertheless: publish it again
 * with the same idempotency key.
 */
export class NotSent extends Error {
  constructor(idempotencyKey) {
    super(`not sent: ${idempotencyKey}`);
    this.name = "NotSent";
    this.idempotencyKey = idempotencyKey;
  }
}

export class Publisher {
  #url;
  #headers;
  #mostWaiting;
  #waiting = [];
  #mostEvents = MOST_EVENTS;
  #failures = 0;
  #running = false;
  #isClosed = false;
  #stop = new AbortController();
  #changed = new Set(); // who waits for the queue to change

  constructor(baseUrl, key, { workspace, mostWaiting = MOST_WAITING } = {}) {
    this.#url = `${baseUrl.replace(/\/+$/, "")}/v1/events`;
    this.#headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
    if (workspace !== undefined) this.#headers["X-Workspace"] = workspace;
    this.#mostWaiting = mostWaiting;
  }

  /** How many events the server has not answered for yet. */
  get waiting() {
    return this.#waiting.length;
  }

  /**
   * Queue one event; resolves with the server's answer, rejects with EventRefused or NotSent. Throws RangeError while the
   * queue is full (`await publisher.ready()` waits for room), SyntaxError and TypeError for what is not a JSON object.
   */
  publish(kind, id, type, data, { idempotencyKey = crypto.randomUUID(), ...options } = {}) {
    if (this.#isClosed) throw new Error("this Publisher is closed");
    if (this.#waiting.length >= this.#mostWaiting) {
      throw new RangeError(`${this.#mostWaiting} events are waiting for the server: await publisher.ready() first`);
    }
    const text = spelled(kind, id, type, data, options, idempotencyKey);
    const event = { text, size: new TextEncoder().encode(text).length, key: idempotencyKey };
    const answered = new Promise((resolve, reject) => Object.assign(event, { resolve, reject }));
    answered.catch(() => {}); // whoever does not look at the answer is not ended by it; close() tells what is unsent
    this.#waiting.push(event);
    if (!this.#running) this.#run();
    return answered;
  }

  /** Resolves when there is room in the queue. */
  async ready() {
    await this.#until(() => this.#isClosed || this.#waiting.length < this.#mostWaiting, Infinity);
  }

  /** Resolves with true once everything published is answered for, with false when it is not within `ms`. */
  flush(ms = Infinity) {
    return this.#until(() => this.#waiting.length === 0, ms);
  }

  /** Take no more events, wait at most `ms` for what is waiting, and stop. Resolves with what was not sent. */
  async close(ms = 5000) {
    this.#isClosed = true;
    this.#tell();
    await this.flush(ms);
    this.#stop.abort();
    const left = this.#waiting.splice(0);
    for (const event of left) event.reject(new NotSent(event.key));
    this.#tell();
    return left.map(({ text, key }) => ({ event: text, idempotencyKey: key }));
  }

  async #until(look, ms) {
    const deadline = Date.now() + ms;
    while (!look()) {
      const left = deadline - Date.now();
      if (left <= 0) return false;
      await new Promise((resolve) => {
        const timer = left === Infinity ? undefined : setTimeout(resolve, left);
        this.#changed.add(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return true;
  }

  #tell() {
    const waiting = [...this.#changed];
    this.#changed.clear();
    for (const wake of waiting) wake();
  }

  /** One request at a time, so that the events of a stream keep their order. */
  async #run() {
    this.#running = true;
    await Promise.resolve(); // what is published in the same breath goes in the same request
    while (this.#waiting.length && !this.#stop.signal.aborted) {
      const askedMs = await this.#post(this.#waiting.slice(0, this.#fitting()));
      if (this.#failures) {
        await pause(pauseMs(FIRST_WAIT_MS, this.#failures, askedMs, Math.random()), this.#stop.signal);
      }
    }
    this.#running = false;
  }

  #fitting() {
    let [count, total] = [0, 0];
    for (const { size } of this.#waiting) {
      if (count && (count === this.#mostEvents || total + size > MOST_BYTES)) break;
      count += 1;
      total += size;
    }
    return count;
  }

  /** One request and what becomes of its events. Returns the milliseconds that the server asks to wait. */
  async #post(batch) {
    let response, text;
    try {
      const signal = AbortSignal.any([this.#stop.signal, AbortSignal.timeout(ANSWER_MS)]);
      const body = `[${batch.map((event) => event.text).join(",")}]`;
      const request = { method: "POST", headers: this.#headers, body, signal, redirect: "manual" };
      response = await fetch(this.#url, request);
      text = await response.text();
      if (response.status === 202) return this.#settle(batch, readAnswers(text, batch.length));
    } catch {
      this.#failures += 1; // lost on the way, or not an answer of this server's
      return 0;
    }
    const { status } = response;
    if (isForNow(status)) {
      this.#failures += 1;
    } else if (batch.length > 1 && status >= 400 && !OF_THE_CALLER.has(status)) {
      this.#mostEvents = Math.floor(batch.length / 2); // one of them spoils the request: find it
      this.#failures = 0;
    } else {
      this.#settle(batch, batch.map(() => ({ ...problemIn(text), status })));
    }
    return retryAfterMs(response.headers);
  }

  /** What is answered leaves the queue; the rest stays where it is, so that the order holds. */
  #settle(batch, answers) {
    if (this.#stop.signal.aborted) return 0;
    const open = batch.filter((_, index) => isPutOff(answers[index]));
    this.#waiting.splice(0, batch.length, ...open);
    // Something was answered: what is left is tried soon again, not later each time.
    this.#failures = open.length === 0 ? 0 : open.length < batch.length ? 1 : this.#failures + 1;
    this.#mostEvents = Math.max(this.#mostEvents, Math.min(MOST_EVENTS, 2 * batch.length));
    batch.forEach((event, index) => {
      const answer = answers[index];
      if ("seq" in answer) event.resolve(answer);
      else if (!isPutOff(answer)) event.reject(new EventRefused(answer.status, answer, event.key));
    });
    this.#tell();
    return 0;
  }
}

function isPutOff(answer) {
  return !("seq" in answer) && isForNow(answer.status ?? 500);
}

/** data: an object; as a string it is JSON that is posted as it is spelled, with its big numbers. */
function spelled(kind, id, type, data, { occurredAt, metadata, channels }, key) {
  const isText = typeof data === "string";
  const value = isText ? JSON.parse(data) : data;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError("an event's data is a JSON object");
  }
  const event = { stream: { kind, id }, type, idempotency_key: key, occurred_at: occurredAt, metadata, channels };
  return `${JSON.stringify(event).slice(0, -1)},"data":${isText ? data : JSON.stringify(data)}}`;
}

function readAnswers(text, count) {
  const { data } = JSON.parse(text);
  if (!Array.isArray(data) || data.length !== count || !data.every((one) => one && typeof one === "object")) {
    throw new Error(`the server's answer is not about ${count} events`);
  }
  return data;
}

function problemIn(text) {
  try {
    const problem = JSON.parse(text);
    if (problem && typeof problem === "object") return problem;
  } catch {
    // What a proxy says is no JSON.
  }
  return { detail: text.slice(0, 200) };
}
