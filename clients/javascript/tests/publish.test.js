// The publisher posts everything once, in order, and tells what it could not send.

import assert from "node:assert/strict";
import test from "node:test";

import { EventRefused, NotSent, Publisher } from "twofold";

import { bodyOf, serving } from "./server.js";

const stored = (events) => ({ data: events.map((event) => ({ id: `evt_${event.idempotency_key}`, seq: 1 })) });

/** A server that takes posts. judge(count, events): [status, answer, headers]. */
async function taking(judge = (_, events) => [202, stored(events)]) {
  const requests = [];
  const server = await serving(async (request, response, count) => {
    const events = JSON.parse(await bodyOf(request));
    requests.push(events);
    const [status, answer, headers] = judge(count, events);
    response.writeHead(status, headers).end(JSON.stringify(answer));
  });
  return { ...server, requests, keys: () => requests.map((events) => events.map((event) => event.idempotency_key)) };
}

function publish(publisher, count) {
  const numbers = Array.from({ length: count }, (_, n) => n);
  return numbers.map((n) => publisher.publish("call", "c", "a", { n }, { idempotencyKey: `k${n}` }));
}

test("what waits goes in few requests, in order, and each event is answered", async () => {
  const server = await taking();
  const publisher = new Publisher(server.url, "pk");
  const answers = await Promise.all(publish(publisher, 1200));
  assert.deepEqual(answers.map((one) => one.id), answers.map((_, n) => `evt_k${n}`));
  assert.deepEqual(server.keys().flat(), answers.map((_, n) => `k${n}`));
  assert.equal(server.requests.length, 3);
  assert.deepEqual(await publisher.close(), []);
  assert.throws(() => publisher.publish("call", "c", "a", {}), /closed/);
  await server.close();
});

test("the same key goes again until it is answered", async () => {
  const server = await taking((count, events) => {
    if (count === 0) return [503, {}, { "Retry-After": "0" }];
    if (count === 1) return [202, { data: [] }];
    return [202, stored(events)];
  });
  const publisher = new Publisher(server.url, "pk");
  assert.equal((await publisher.publish("call", "c", "a", '{"n":1e2}')).seq, 1);
  const keys = server.keys().flat();
  assert.equal(keys.length, 3);
  assert.equal(new Set(keys).size, 1);
  await server.close();
});

test("what is put off comes before what is published later", async () => {
  const server = await taking((count, events) => {
    const answer = stored(events);
    if (count === 0) {
      publisher.publish("call", "c", "a", {}, { idempotencyKey: "later" });
      answer.data[0] = { status: 503 };
    }
    return [202, answer];
  });
  const publisher = new Publisher(server.url, "pk");
  await publisher.publish("call", "c", "a", {}, { idempotencyKey: "k" });
  assert.deepEqual(server.keys(), [["k"], ["k", "later"]]);
  await server.close();
});

test("a refused event fails alone, also when it spoils the request", async () => {
  const server = await taking((_, events) => {
    if (events.some((event) => event.idempotency_key === "k2")) return [413, { code: "too_large" }];
    const answer = stored(events);
    events.forEach((event, index) => {
      if (event.idempotency_key === "k3") answer.data[index] = { status: 409, code: "stream_ended" };
    });
    return [202, answer];
  });
  const publisher = new Publisher(server.url, "pk");
  const results = await Promise.allSettled(publish(publisher, 6));
  assert.deepEqual(results.map((one) => one.status === "fulfilled"), [true, true, false, false, true, true]);
  assert.ok(results[2].reason instanceof EventRefused);
  assert.deepEqual([results[2].reason.status, results[3].reason.code], [413, "stream_ended"]);
  await server.close();
});

test("a full queue says so, and a close tells what is unsent", async () => {
  const server = await taking(() => [503, {}]);
  const publisher = new Publisher(server.url, "pk", { mostWaiting: 2 });
  const answers = publish(publisher, 2);
  assert.throws(() => publisher.publish("call", "c", "a", {}), RangeError);
  assert.equal(await publisher.flush(10), false);
  const unsent = await publisher.close(10);
  assert.deepEqual(unsent.map((one) => [one.idempotencyKey, JSON.parse(one.event).data.n]), [["k0", 0], ["k1", 1]]);
  for (const answer of answers) await assert.rejects(answer, NotSent);
  await server.close();
});

test("what is no JSON object is refused before it spoils a request", () => {
  const publisher = new Publisher("http://127.0.0.1:9", "pk");
  assert.throws(() => publisher.publish("call", "c", "a", "{"), SyntaxError);
  assert.throws(() => publisher.publish("call", "c", "a", "[]"), TypeError);
});
