// A real HTTP server that answers as a test tells it to.

import { createServer } from "node:http";

/** answer(request, response, count): count from 0. Returns { url, close }. */
export async function serving(answer) {
  let count = 0;
  const server = createServer((request, response) => answer(request, response, count++));
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}`, close };
}

export async function bodyOf(request) {
  let text = "";
  for await (const piece of request) text += piece;
  return text;
}
