// A consumer reads, hands out and commits, over whatever the server says.

import assert from "node:assert/strict";
import test from "node:test";

import { Consumer, FeedRefused } from "twofold";

import { bodyOf, serving } from "./server.js";

const page = (lease, ...ids) =>
  JSON.stringify({ lease, leased_until: null, data: ids.map((id) => ({ cursor: `c${id}`, event: { id } })), cursor: "c", more: false });

/** Answers with these, one by one: [status, text], or null for a cut; then with a page without events. */
async function answering(answers) {
  const asked = [];
  const server = await serving(async (request, response, count) => {
    const body = await bodyOf(request);
    asked.push([request.method, request.url, body && JSON.parse(body), request.headers["idempotency-key"]]);
    const answer = count < answers.length ? answers[count] : [200, page(null)];
    if (answer === null) return response.destroy();
    response.writeHead(answer[0], answer[2] ?? {}).end(answer[1]);
  });
  return { asked, server };
}

test("each method is asked for as the API names it", async () => {
  const { asked, server } = await answering([[201, "{}"], [200, "{}"], [200, page("l", 1)], [200, "{}"], [200, "{}"], [204, ""]]);
  const consumer = new Consumer(`${server.url}/`, "a/b", { headers: { Authorization: "Bearer pk" } });
  await consumer.put({ kinds: ["call"], contentFilter: { path: "/amount", gte: 100 }, start: "latest" });
  await consumer.get();
  assert.equal((await consumer.read({ limit: 5, wait: 1, leaseSeconds: 60 })).lease, "l");
  await consumer.commit("l", "c1");
  await consumer.seek("earliest");
  await consumer.delete();
  assert.deepEqual(
    asked.map(([method, url, body]) => [method, url, body]),
    [
      ["PUT", "/v1/feed/consumers/a%2Fb", { kinds: ["call"], content_filter: { path: "/amount", gte: 100 }, start: "latest" }],
      ["GET", "/v1/feed/consumers/a%2Fb", ""],
      ["POST", "/v1/feed/consumers/a%2Fb/read", { limit: 5, wait: 1, lease_seconds: 60 }],
      ["POST", "/v1/feed/consumers/a%2Fb/commit", { lease: "l", cursor: "c1" }],
      ["POST", "/v1/feed/consumers/a%2Fb/seek", { to: "earliest" }],
      ["DELETE", "/v1/feed/consumers/a%2Fb", ""],
    ],
  );
  await server.close();
});

test("pages come over cuts and outages, each is committed behind its handling, and a lost lease ends nothing", async () => {
  const held = [409, '{"code": "lease_held"}', { "Retry-After": "60" }];
  const lost = [409, '{"code": "lease_lost"}'];
  const { asked, server } = await answering([
    null, [503, "<"], [200, page("l1", 1, 2)], null, [200, "{}"], [200, page(null)], held, [200, page("l2", 3)], lost,
    [200, page("l3", 3)], [200, "{}"],
  ]);
  const stop = new AbortController();
  const seen = [];
  for await (const entries of new Consumer(server.url, "c").pages({ wait: 0, signal: stop.signal })) {
    seen.push(entries.map(({ event }) => event.id));
    if (seen.length === 4) stop.abort();
  }
  assert.deepEqual(seen, [[1, 2], [], [3], [3]]);
  const commits = asked.filter(([, url]) => url.endsWith("/commit")).map(([, , body]) => body.lease);
  assert.deepEqual(commits, ["l1", "l1", "l2", "l3"]);
  const keys = asked.filter(([, url]) => url.endsWith("/read")).map(([, , , key]) => key);
  assert.equal(new Set(keys.slice(0, 3)).size, 1, "a read that is repeated has the same lease");
  assert.equal(new Set(keys).size, 4);
  await server.close();
});

test("what waiting does not mend ends it", async () => {
  assert.throws(() => new Consumer("no address", "c"), TypeError);
  const { server } = await answering([[410, '{"code": "cursor_gone", "cursor": "c9"}']]);
  const pages = new Consumer(server.url, "c").pages();
  await assert.rejects(pages.next(), (error) => {
    assert.ok(error instanceof FeedRefused);
    assert.deepEqual([error.code, error.problem.cursor], ["cursor_gone", "c9"]);
    return true;
  });
  await server.close();
});
