// The feed: everything of a workspace in one order, read by a cursor or followed live.

import { follow } from "./stream.js";

/** The server said no. problem: what it answered, with `code` and `detail`; for `cursor_lost` the `cursor` to go on from. */
export class FeedRefused extends Error {
  constructor(status, problem) {
    super(`${status} ${problem.code ?? ""}: ${problem.detail ?? ""}`);
    this.name = "FeedRefused";
    this.status = status;
    this.code = problem.code ?? "";
    this.problem = problem;
  }
}

/** One page: { data: [{ cursor, event }], cursor, more }. Rejects with FeedRefused, and with what fetch throws. */
export async function feed(baseUrl, options = {}) {
  const { after = "earliest", wait, limit, headers, signal } = options;
  const url = address(baseUrl, "/v1/feed", { ...wanted(options), after, wait, limit });
  const response = await fetch(url, { headers, signal, cache: "no-store" });
  const text = await response.text();
  if (!response.ok) throw new FeedRefused(response.status, problemIn(text));
  return JSON.parse(text);
}

/**
 * The feed's events as they happen, without an end. Each event's `id` is a cursor. An event of the type `reset` says that
 * what came last was lost with a server: its data has the `reason`, and the feed goes on from its `id`.
 */
export async function* followFeed(baseUrl, options = {}) {
  const { after = "latest" } = options;
  let { lastEventId = "" } = options;
  const query = wanted(options);
  if (!lastEventId && after === "latest") {
    // Where that is now: a cut before the first event must not move it.
    lastEventId = (await feed(baseUrl, { headers: options.headers, signal: options.signal, after })).cursor;
  } else if (!lastEventId) {
    query.after = after;
  }
  yield* follow(address(baseUrl, "/v1/feed/live", query), { ...options, lastEventId });
}

function wanted({ streams = [], kinds = [], types = [] }) {
  const named = { streams, kinds, types };
  return Object.fromEntries(Object.entries(named).flatMap(([name, all]) => (all.length ? [[name, all.join(",")]] : [])));
}

function address(baseUrl, path, query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  const text = new URLSearchParams(given.map(([name, value]) => [name, String(value)])).toString();
  return `${String(baseUrl).replace(/\/+$/, "")}${path}${text ? `?${text}` : ""}`;
}

function problemIn(text) {
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return { detail: text.slice(0, 200) }; // what a proxy says is no JSON
  }
}
