// The stream survives cuts, silence and expired tokens, and stops when it should.

import assert from "node:assert/strict";
import test from "node:test";

import { follow, StreamRefused, subscribe } from "twofold";

import { serving } from "./server.js";

const TEXTS = ["first 😀", "second \u2028 line", "third"];
const frame = (number) => `event: note\nid: ${number}\ndata: ${TEXTS[number - 1]}\n\n`;
const WHOLE = Buffer.from(TEXTS.map((_, index) => frame(index + 1)).join(""));
const EXPECTED = TEXTS.map((data, index) => ({ type: "note", data, id: String(index + 1) }));

async function all(events) {
  const found = [];
  for await (const event of events) found.push(event);
  return found;
}

function resume(request, response) {
  const last = Number(request.headers["last-event-id"] ?? 0);
  if (last >= TEXTS.length) return response.writeHead(204).end();
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  for (let number = last + 1; number <= TEXTS.length; number += 1) response.write(frame(number));
  response.end();
}

test("cut at every byte, nothing is missing and nothing comes twice", async () => {
  let cut;
  const server = await serving((request, response) => {
    if ("last-event-id" in request.headers || cut === undefined) return resume(request, response);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(WHOLE.subarray(0, cut), () => response.destroy());
    cut = undefined;
  });
  for (let at = 1; at <= WHOLE.length; at += 1) {
    cut = at;
    assert.deepEqual(await all(follow(server.url, { firstWaitMs: 0 })), EXPECTED, `cut at byte ${at}`);
  }
  await server.close();
});

test("each connection asks for a token, and one that has expired is replaced", async () => {
  const given = [];
  const server = await serving((request, response, count) => {
    given.push(request.headers.authorization);
    if (count < 2) return response.writeHead(401).end();
    resume(request, response);
  });
  let number = 0;
  const token = async () => `t${(number += 1)}`;
  assert.deepEqual(await all(follow(server.url, { token, firstWaitMs: 0 })), EXPECTED);
  assert.deepEqual(given, ["Bearer t1", "Bearer t2", "Bearer t3", "Bearer t4"]);
  await server.close();
});

test("tokens that are refused again and again, and other refusals, end it", async () => {
  const server = await serving((request, response) => response.writeHead(request.url === "/gone" ? 404 : 401).end("no"));
  const refused = (status) => (error) => error instanceof StreamRefused && error.status === status;
  await assert.rejects(all(follow(server.url, { token: () => "t", firstWaitMs: 0 })), refused(401));
  await assert.rejects(all(follow(server.url, { firstWaitMs: 0 })), refused(401));
  await assert.rejects(all(follow(`${server.url}/gone`)), refused(404));
  await assert.rejects(all(follow("no address")), TypeError);
  await server.close();
});

test("a silent connection is opened anew, a quiet one with heartbeats is not", async () => {
  let connections = 0;
  const server = await serving((request, response, count) => {
    connections += 1;
    if (count > 0) return resume(request, response);
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(": keepalive\n");
  });
  assert.deepEqual(await all(follow(server.url, { firstWaitMs: 0, silenceMs: 100 })), EXPECTED);
  assert.equal(connections, 3);
  await server.close();
});

test("subscribe hands events over, and close ends it", async () => {
  const server = await serving((request, response) => {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    response.write(WHOLE);
  });
  const seen = [];
  const connections = [];
  const options = { onConnection: (isOpen) => connections.push(isOpen) };
  const subscription = subscribe(
    server.url,
    (event) => {
      seen.push(event);
      if (seen.length === TEXTS.length) subscription.close();
    },
    options,
  );
  await subscription.done;
  assert.deepEqual(seen, EXPECTED);
  assert.equal(subscription.lastEventId, "3");
  assert.deepEqual(connections, [true]);
  const failing = subscribe(server.url, () => {
    throw new Error("mine");
  });
  await assert.rejects(failing.done, /mine/);
  await server.close();
});
