// Publishes COUNT events with the JavaScript package, one each 5 ms. One line for each answer: {"key", "id", "seq"}.
// publish.mjs BASE_URL KEY KIND ID COUNT

import { setTimeout as sleep } from "node:timers/promises";

import { Publisher } from "twofold";

const [baseUrl, key, kind, id, count] = process.argv.slice(2);
const publisher = new Publisher(baseUrl, key);
const answers = [];
for (let n = 0; n < Number(count); n += 1) {
  answers.push(publisher.publish(kind, id, "note.added", { n }, { idempotencyKey: `${id}-${n}` }));
  await sleep(5);
}
const unsent = await publisher.close(120_000);
if (unsent.length) throw new Error(`${unsent.length} unsent`);
for (const [n, answer] of (await Promise.all(answers)).entries()) {
  console.log(JSON.stringify({ key: `${id}-${n}`, id: answer.id, seq: answer.seq }));
}
