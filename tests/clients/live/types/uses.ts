// What TypeScript makes of the package's types: each line compiles, and each expected error is one.

import { EventRefused, follow, NotSent, Publisher, StreamRefused, subscribe, verifyWebhook } from "twofold";
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

const publisher = new Publisher("https://example.com", "pk_a", { workspace: "acme" });
const stored: EventOut = await publisher.publish("call", "c", "a", { n: 1 }, { idempotencyKey: "k" });
await publisher.publish("call", "c", stored.type, "{}").catch((error: unknown) => {
  if (error instanceof EventRefused) return error.code.length;
  if (error instanceof NotSent) return error.idempotencyKey.length;
});
const unsent: Unsent[] = await publisher.close(100);
void unsent;

// @ts-expect-error: data is an object or its text
void publisher.publish("call", "c", "a", 1);
// @ts-expect-error: a token is text
subscribe("https://example.com", () => {}, { token: () => 1 });
