// The feed: everything of a workspace in one order, read by a cursor or followed live.

import { retryAfterMs } from "./retry.js";
import { follow } from "./stream.js";

/** The server said no. problem: what it answered, with `code` and `detail`; for `cursor_lost` the `cursor` to go on from. */
export class FeedRefused extends Error {
  constructor(status, problem, retryAfterMs = 0) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail ?? ""}`);
    this.name = "FeedRefused";
    this.status = status;
    this.code = problem.code ?? "";
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

/** One page: { data: [{ cursor, event }], cursor, more }. Rejects with FeedRefused, and with what fetch throws. */
export async function feed(baseUrl, options = {}) {
  const { after = "earliest", wait, limit, headers, signal } = options;
  return ask(address(baseUrl, "/v1/feed", { ...wanted(options), after, wait, limit }), { headers, signal });
}

/**
 * The feed's events as they happen, without an end. Each event's `id` is a cursor. An event of the type `reset` says that
 * events behind the last cursor are missing: its data has the `reason`, and the feed goes on from its `id`.
 */
export async function* followFeed(baseUrl, options = {}) {
  const { after = "latest", token, headers, signal } = options;
  let { lastEventId = "" } = options;
  const query = wanted(options);
  if (!lastEventId && after === "latest" && !token) {
    // Where that is now: a cut before the first event must not move it.
    lastEventId = (await feed(baseUrl, { headers, signal, after })).cursor;
  } else if (!lastEventId && after !== "latest") {
    query.after = after;
  }
  yield* follow(address(baseUrl, "/v1/feed/live", query), { ...options, lastEventId });
}

/** What the server answers, parsed. Rejects with FeedRefused, and with what fetch throws. */
export async function ask(url, options) {
  const response = await fetch(url, { ...options, cache: "no-store" });
  const text = await response.text();
  if (!response.ok) throw new FeedRefused(response.status, problemIn(text), retryAfterMs(response.headers));
  return text ? JSON.parse(text) : undefined;
}

/** Below the base URL, with those of the query that are given. */
export function address(baseUrl, path, query = {}) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `${String(baseUrl).replace(/\/+$/, "")}${path}${text ? `?${text}` : ""}`;
}

function wanted({ streams = [], kinds = [], types = [], contentFilter }) {
  const named = { streams, kinds, types };
  const found = Object.fromEntries(
    Object.entries(named).flatMap(([name, all]) => (all.length ? [[name, all.join(",")]] : [])),
  );
  return contentFilter ? { ...found, content_filter: JSON.stringify(contentFilter) } : found;
}

function problemIn(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return { detail: text.slice(0, 200) }; // what a proxy says is no JSON
  }
}
