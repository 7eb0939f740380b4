// The shared vectors, each with its answer.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { EventParser, SecretError, verifyBatch, verifyWebhook, WebhookVerificationError } from "twofold";

const vectors = JSON.parse(readFileSync(new URL("../../vectors.json", import.meta.url), "utf8"));

/** Whether the signature holds: a body that is no JSON object is refused after that. */
async function judged(one) {
  try {
    const options = { now: one.now, toleranceSeconds: one.tolerance_seconds };
    await verifyWebhook(one.secrets, one.headers, one.body, options);
    return true;
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    return error.message.startsWith("the signature is valid");
  }
}

test("signatures", async (t) => {
  for (const one of vectors.signatures) {
    await t.test(one.name, async () => assert.equal(await judged(one), one.valid));
  }
});

test("malformed secrets are named", async () => {
  const [{ headers, body, now }] = vectors.signatures;
  for (const secret of vectors.malformed_secrets) {
    await assert.rejects(verifyWebhook(secret, new Headers(headers), body, { now }), SecretError, secret);
  }
});

test("a missing header is named", async () => {
  const [{ secrets, headers, body, now }] = vectors.signatures;
  const { "webhook-id": _, ...rest } = headers;
  await assert.rejects(verifyWebhook(secrets, rest, body, { now }), /the webhook-id header is missing/);
});

test("envelopes", async (t) => {
  for (const one of vectors.envelopes) {
    await t.test(one.name, async () => {
      const event = await verifyWebhook(one.secret, one.headers, new TextEncoder().encode(one.body), { now: one.now });
      for (const name of ["id", "type", "timestamp", "workspace_id", "stream", "seq"]) {
        assert.deepEqual(event[name], one[name]);
      }
      assert.deepEqual(event.data, JSON.parse(one.data));
      assert.deepEqual(event.metadata, one.metadata && JSON.parse(one.metadata));
    });
  }
});

test("batches", async (t) => {
  for (const one of vectors.batches) {
    await t.test(one.name, async () => {
      const events = verifyBatch(one.secret, one.headers, one.body, { now: one.now });
      if (!one.valid) return assert.rejects(events, WebhookVerificationError);
      assert.deepEqual((await events).map(({ id }) => id), one.ids);
    });
  }
  const [{ secret, headers, body, now }] = vectors.batches;
  await assert.rejects(verifyWebhook(secret, headers, body, { now }), /use verifyBatch/);
});

test("streams, in pieces of any size", async (t) => {
  for (const one of vectors.streams) {
    await t.test(one.name, () => {
      const bytes = new TextEncoder().encode(one.text);
      for (const size of [1, 2, 3, 7, 1e6]) {
        const parser = new EventParser();
        const events = [];
        for (let at = 0; at < bytes.length; at += size) events.push(...parser.feed(bytes.subarray(at, at + size)));
        assert.deepEqual(events, one.events);
        assert.deepEqual([parser.lastEventId, parser.retryMs], [one.last_event_id, one.retry_ms]);
      }
    });
  }
});
