// The feed is read by cursors and followed from them, and a cut moves nothing.

import assert from "node:assert/strict";
import test from "node:test";

import { feed, FeedRefused, followFeed, Publisher } from "twofold";

import { bodyOf, serving } from "./server.js";

const frames = (...all) => all.map(([type, id, data]) => `event: ${type}\nid: ${id}\ndata: ${data}\n\n`).join("");

test("a page is asked for as the API names it, and a refusal is an error", async () => {
  const asked = [];
  const server = await serving((request, response, count) => {
    asked.push(request.url);
    if (count === 0) return response.end('{"data": [], "cursor": "c1", "more": false}');
    response.writeHead(409).end('{"code": "cursor_lost", "detail": "Go on.", "cursor": "c9"}');
  });
  const contentFilter = { path: "/at_ms", gte: 100 };
  const page = await feed(`${server.url}/`, { streams: ["call:1", "call:2"], types: ["call.*"], contentFilter, wait: 3, limit: 10 });
  assert.equal(page.cursor, "c1");
  const { content_filter, ...named } = Object.fromEntries(new URL(asked[0], server.url).searchParams);
  assert.deepEqual(JSON.parse(content_filter), contentFilter);
  assert.deepEqual(named, { streams: "call:1,call:2", types: "call.*", after: "earliest", wait: "3", limit: "10" });
  await assert.rejects(feed(server.url, { after: "c5" }), (error) => {
    assert.ok(error instanceof FeedRefused);
    assert.deepEqual([error.status, error.code, error.problem.cursor], [409, "cursor_lost", "c9"]);
    return true;
  });
  await server.close();
});

test("who begins now goes on from now, also when the first connection brings nothing; a reset is told", async () => {
  const cursors = [];
  const stop = new AbortController();
  const server = await serving((request, response, count) => {
    if (request.url.startsWith("/v1/feed?")) return response.end('{"data": [], "cursor": "now", "more": false}');
    cursors.push(request.headers["last-event-id"]);
    assert.equal(request.url, "/v1/feed/live?kinds=call");
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    if (count === 1) return response.destroy();
    response.end(frames(["a", "c1", "{}"], ["reset", "c7", '{"reason":"cursor_lost"}']));
  });
  const found = [];
  for await (const event of followFeed(server.url, { kinds: ["call"], firstWaitMs: 0, signal: stop.signal })) {
    found.push([event.type, event.id]);
    if (found.length === 3) stop.abort();
  }
  assert.deepEqual(cursors, ["now", "now", "c7"]);
  assert.deepEqual(found, [["a", "c1"], ["reset", "c7"], ["a", "c1"]]);
  await server.close();
});

test("with a token nothing is asked but the live feed, and each connection has a new one", async () => {
  const asked = [];
  const stop = new AbortController();
  const server = await serving((request, response, count) => {
    asked.push([request.url, request.headers.authorization, request.headers["last-event-id"]]);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.end(count === 0 ? "id: now\n\n" : frames(["a", "c1", "{}"]));
  });
  let tokens = 0;
  const options = { kinds: ["call"], token: () => `t${(tokens += 1)}`, firstWaitMs: 0, signal: stop.signal };
  for await (const event of followFeed(server.url, options)) {
    assert.equal(event.id, "c1");
    stop.abort();
  }
  assert.deepEqual(asked, [
    ["/v1/feed/live?kinds=call", "Bearer t1", undefined],
    ["/v1/feed/live?kinds=call", "Bearer t2", "now"],
  ]);
  await server.close();
});

test("metadata and channels are posted when they are given", async () => {
  const posted = [];
  const server = await serving(async (request, response) => {
    posted.push(...JSON.parse(await bodyOf(request)));
    response.writeHead(202).end('{"data": [{"id": "evt_1", "seq": 1}]}');
  });
  const publisher = new Publisher(server.url, "pk_a");
  await publisher.publish("call", "c", "a", {}, { metadata: { tenant: 7 }, channels: ["eu"] });
  await publisher.close();
  assert.deepEqual([posted[0].metadata, posted[0].channels], [{ tenant: 7 }, ["eu"]]);
  await server.close();
});
