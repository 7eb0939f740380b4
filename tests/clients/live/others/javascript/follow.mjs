// Follows a stream with clients for JavaScript that others wrote, as their READMEs show it.
// follow.mjs fetch-event-source|eventsource2|eventsource3|eventsource4 URL KEY: one line for each event

const [which, url, key] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${key}` };
const told = (type, data, id) => console.log(JSON.stringify({ type, data, id }));

if (which === "fetch-event-source") {
  // It is for browsers: it asks the page whether it is seen, and has its timers from the window.
  globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
  globalThis.window = globalThis;
  const { fetchEventSource } = await import("@microsoft/fetch-event-source");
  await fetchEventSource(url, { headers, onmessage: ({ event, data, id }) => told(event, data, id) });
} else {
  const module = await import(which);
  const EventSource = module.EventSource ?? module.default;
  const fetching = (address, init) => fetch(address, { ...init, headers: { ...init.headers, ...headers } });
  const source = new EventSource(url, which === "eventsource2" ? { headers } : { fetch: fetching });
  source.addEventListener("note.added", ({ type, data, lastEventId }) => told(type, data, lastEventId));
}
