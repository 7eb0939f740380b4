// Follows a stream with the JavaScript package, by tokens. One line for each event: {"type", "data", "id"}.
// follow.mjs BASE_URL KEY KIND ID

import { subscribe } from "twofold";

const [baseUrl, key, kind, id, tokensAt = baseUrl] = process.argv.slice(2);

async function token() {
  const headers = { Authorization: `Bearer ${key}` };
  const answer = await fetch(`${tokensAt}/v1/streams/${kind}/${id}/tokens`, { method: "POST", headers });
  if (!answer.ok) throw new TypeError(`no token: ${answer.status}`);
  return (await answer.json()).token;
}

const live = subscribe(
  `${baseUrl}/v1/streams/${kind}/${id}/live`,
  (event) => console.log(JSON.stringify(event)),
  { token, lastEventId: "0" },
);
await live.done;
