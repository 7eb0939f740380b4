// What TypeScript makes of the package's types: each line compiles, and each expected error is one.

import { Consumer, EventRefused, feed, FeedRefused, follow, followFeed, NotSent, Publisher, StreamRefused, subscribe, verifyBatch, verifyWebhook } from "twofold";
import type { EventOut, StreamEvent, Subscription, TwofoldEvent, Unsent } from "twofold";

const live: Subscription = subscribe("https://example.com", (event: StreamEvent) => void event.data.length, {
  token: async () => "token",
  lastEventId: "0",
  onConnection: (isOpen) => void (isOpen satisfies boolean),
});
live.close();
await live.done.catch((error: unknown) => error instanceof StreamRefused && error.status.toFixed());
for await (const { id, type, data } of follow(new URL("https://example.com"), { headers: { a: "b" } })) void [id, type, data];

const event: TwofoldEvent<{ at_ms: number }> = await verifyWebhook(["whsec_a"], new Headers(), new Uint8Array());
event.data.at_ms.toFixed();

const page = await feed<{ at_ms: number }>("https://example.com", { headers: { a: "b" }, types: ["call.*"], wait: 5 });
for (const { cursor, event } of page.data) void [cursor.length, event.data.at_ms.toFixed(), event.metadata?.tenant];
for await (const { id } of followFeed("https://example.com", { lastEventId: page.cursor, token: () => "t" })) void id;
const consumer = new Consumer<{ at_ms: number }>("https://example.com", "billing", { headers: { a: "b" } });
void (await consumer.put({ kinds: ["call"], start: "latest" })).lag.seconds.toFixed();
const leased = await consumer.read({ wait: 5, leaseSeconds: 60 });
if (leased.lease !== null) void (await consumer.commit(leased.lease, leased.cursor)).committed_at;
for await (const entries of consumer.pages({ limit: 10 })) for (const { event } of entries) event.data.at_ms.toFixed();
void (await verifyBatch<{ at_ms: number }>("whsec_a", {}, "")).map(({ data }) => data.at_ms);
void (new FeedRefused(409, {}).problem.cursor);

const publisher = new Publisher("https://example.com", "pk_a", { workspace: "acme" });
const stored: EventOut = await publisher.publish("call", "c", "a", { n: 1 }, { idempotencyKey: "k", channels: ["eu"], metadata: { tenant: 7 } });
await publisher.publish("call", "c", stored.type, "{}").catch((error: unknown) => {
  if (error instanceof EventRefused) return error.code.length;
  if (error instanceof NotSent) return error.idempotencyKey.length;
});
const unsent: Unsent[] = await publisher.close(100);
void unsent;

// @ts-expect-error: data is an object or its text
void publisher.publish("call", "c", "a", 1);
void consumer.put({ contentFilter: { "data.gain": [2] } });
// @ts-expect-error: a token is text
subscribe("https://example.com", () => {}, { token: () => 1 });
