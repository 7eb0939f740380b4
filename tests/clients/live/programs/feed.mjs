// Reads the feed with the JavaScript package, live and as a consumer. One line for each event: {"by", "id", "cursor"}.
// feed.mjs BASE_URL KEY KIND CURSOR

import { Consumer, followFeed } from "twofold";

const [baseUrl, key, kind, cursor] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const told = (by, id, at) => console.log(JSON.stringify({ by, id, cursor: at }));

async function consume(consumer) {
  for await (const page of consumer.pages({ wait: 2 })) {
    for (const { cursor: at, event } of page) told("consumer", event.id, at);
  }
}

async function live() {
  for await (const event of followFeed(baseUrl, { headers, kinds: [kind], lastEventId: cursor })) {
    told("live", JSON.parse(event.data).id, event.id);
  }
}

const consumer = new Consumer(baseUrl, `javascript-${kind}`, { headers });
await consumer.put({ kinds: [kind], start: cursor });
await Promise.all([consume(consumer), live()]);
